package cli

import (
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// newGroup is a command that only holds others. Alone it lists them.
func newGroup(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use + " COMMAND", Short: short, Args: unknownCommand, DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// unknownCommand refuses what is no command of cmd's: cobra hands it on as an argument.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := usagef("unknown command %q", args[0])
	if instead := commandElsewhere(args[0]); instead != "" && !cmd.HasParent() {
		return withHint(err, "%s", instead)
	}
	return withHint(err, "%s --help lists the commands", cmd.CommandPath())
}

// commandElsewhere says what to use for commands that people know from rkt, docker and podman.
func commandElsewhere(name string) string {
	switch name {
	case "images":
		return "gantry image list"
	case "rmi":
		return "gantry image rm"
	case "save":
		return "gantry image export"
	case "load":
		return "gantry image import; run and fetch take docker-archive:FILE and oci-archive:FILE, too"
	case "create":
		return "gantry prepare makes a pod, gantry run-prepared runs it"
	case "start":
		return "gantry run-prepared runs a prepared pod, gantry restart one that is over, gantry app start an app of a running one"
	case "top":
		return "gantry stats, or gantry enter POD ps"
	case "cp":
		return "gantry enter POD tar -c PATH | tar -x; gantry export for what an app changed"
	case "diff", "commit":
		return "gantry export writes what an app changed"
	case "port":
		return "gantry network inspect POD"
	case "info", "system":
		return "gantry check, gantry version, gantry config; gantry gc and gantry image gc free space"
	case "pod", "container":
		return "commands of pods stand alone: gantry list, gantry run, gantry rm"
	case "generate":
		return "gantry systemd unit"
	case "play", "kube":
		return "gantry run --pod-manifest=FILE reads appc's manifests and gantry's own"
	case "login":
		return "credentials are files of auth.d; those of docker and podman are read, too"
	case "build", "push", "tag":
		return "gantry runs images; buildah and skopeo make, name and push them"
	case "api-service":
		return "there is no daemon: gantry list and gantry status have --format=json"
	case "metadata-service":
		return "there is none: apps have GANTRY_POD and GANTRY_APP in their environment"
	case "fly":
		return "gantry run --stage1-name=chroot"
	}
	return ""
}

// oneUsageLine takes from the usage of a group the line that cobra adds to ours, and that says less.
func oneUsageLine(root *cobra.Command) {
	plain := root.UsageFunc()
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		out, text := cmd.OutOrStdout(), &strings.Builder{}
		cmd.SetOut(text)
		err := plain(cmd)
		cmd.SetOut(out)
		_, writeErr := io.WriteString(out, strings.Replace(text.String(), "\n  "+cmd.CommandPath()+" [command]", "", 1))
		return errors.Join(err, writeErr)
	})
}

// newHelpCommand is cobra's, but for what it does with a command that is none.
func newHelpCommand() *cobra.Command {
	cmd := verb("help [COMMAND...]", "Show how a command is used", nil)
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return nil } // of no global flag's business
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		about, rest, err := cmd.Root().Find(args)
		if err != nil || len(rest) > 0 {
			return unknownCommand(about, rest)
		}
		about.InitDefaultHelpFlag()
		return about.Help()
	}
	return cmd
}

func newCompletionCommand(e *env) *cobra.Command {
	cmd := verb("completion bash|zsh|fish", "Print a script that completes gantry's lines in a shell", between(1, 1))
	cmd.Long = cmd.Short + ":\n  gantry completion bash >/etc/bash_completion.d/gantry"
	cmd.ValidArgs = []string{"bash", "zsh", "fish"}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch root := cmd.Root(); args[0] {
		case "bash":
			return root.GenBashCompletionV2(e.stdout, true)
		case "zsh":
			return root.GenZshCompletion(e.stdout)
		case "fish":
			return root.GenFishCompletion(e.stdout, true)
		}
		return usagef("%q: want bash, zsh or fish", args[0])
	}
	return cmd
}
