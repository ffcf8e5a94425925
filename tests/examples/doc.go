// Package examples runs what lies in examples/, as the READMEs there say, with real parts on hosts in namespaces.
//
// It knows how such hosts are made. It never touches the machine's /etc, /opt or /var/lib: a host has its own.
package examples
