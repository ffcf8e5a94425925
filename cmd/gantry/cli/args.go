package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// between takes least to most arguments. (What cobra says of an argument too many is that it is an unknown command.)
func between(least, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch n := len(args); {
		case n > most && most == 0:
			return fmt.Errorf("it takes no arguments: %q is one", args[0])
		case n > most:
			return fmt.Errorf("%q is one argument too many", args[most])
		case n < least:
			return fmt.Errorf("too few arguments: %d, want %d", n, least)
		}
		return nil
	}
}
