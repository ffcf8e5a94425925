// Package stats reads what a running pod uses: CPU, memory, processes and disk of each app from its cgroups (v1, hybrid, v2),
// and the network of the pod from /proc.
//
// It reads files and does nothing else: it starts no process, enters no namespace, asks no supervisor, and takes no lock. What
// a kernel does not tell is missing, never zero by guess: counters that are there are as the kernel has them.
package stats
