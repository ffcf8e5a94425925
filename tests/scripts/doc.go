// Package scripts tests the command line as its users see it: each testdata/*.txtar is one behaviour, named
// verb_case, run in a box of its own with a data directory, a registry and a leak check of its own.
//
// Beyond testscript's own commands a script has
//
//	registry                 start a registry with small images; sets $REG (and $DOWN, where nobody listens)
//	gantry ARG...            (by exec) gantry with the script's own --dir and empty configuration directories
//	exits CODE COMMAND...    run, and require this exit code; stdout and stderr can be matched afterwards
//	refused REGEXP COMMAND... run, and require: code 254, nothing on stdout, one line "gantry: ..." that matches
//	setenv NAME FILE         set a variable to what a file holds
//	wait-state POD STATE     wait until gantry status says so
//	wait-ready POD           wait until all its apps have been started
//	wait-file FILE           wait until a file is there
//	wait-log POD TEXT        wait until gantry logs shows it
//	leakcheck                require that nothing is left of any pod; also done at the end, after gc
//	archive FILE DIR         make an OCI archive and an OCI layout of the busybox image
//	fields FILE COMMAND...   run, and require of the JSON on stdout the fields that the file lists, with their types
//	disk DIR SIZE            mount a new ext4 of that many megabytes, which runs full
//
// It never looks into gantry's files where a command can say the same.
package scripts
