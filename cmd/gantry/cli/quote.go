package cli

import "github.com/gantryrun/gantry/pods/printable"

// quoteControl makes foreign text safe to print.
func quoteControl(s string) string { return printable.Text(s) }
