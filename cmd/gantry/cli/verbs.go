package cli

import "github.com/spf13/cobra"

// maker makes the command of one verb.
type maker struct {
	group, name, alias string
	command            func(*env) *cobra.Command
}

// addVerbs gives root the command that is called name, or all, where there is none of that name: for who asks for help, or has to be told.
// All of them and their flags take longer to make than most take to run.
func addVerbs(root *cobra.Command, e *env, name string) {
	makers := []maker{
		{"pod", "run", "", newRunCommand},
		{"pod", "prepare", "", newPrepareCommand},
		{"pod", "run-prepared", "", newRunPreparedCommand},
		{"pod", "list", "ps", newListCommand},
		{"pod", "status", "", newStatusCommand},
		{"pod", "inspect", "", newInspectCommand},
		{"pod", "enter", "exec", newEnterCommand},
		{"pod", "logs", "", newLogsCommand},
		{"pod", "attach", "", newAttachCommand},
		{"pod", "stop", "", newStopCommand},
		{"pod", "kill", "", newKillCommand},
		{"pod", "restart", "", newRestartCommand},
		{"pod", "wait", "", newWaitCommand},
		{"pod", "stats", "", newStatsCommand},
		{"pod", "metrics", "", newMetricsCommand},
		{"pod", "app", "", newAppCommand},
		{"pod", "export", "", newExportCommand},
		{"pod", "rm", "", newRmCommand},
		{"pod", "gc", "", newGCCommand},
		{"pod", "cat-manifest", "", newCatManifestCommand},
		{"image", "fetch", "pull", newFetchCommand},
		{"image", "image", "", newImageCommand},
		{"image", "trust", "", newTrustCommand},
		{"host", "check", "", newCheckCommand},
		{"host", "network", "", newNetworkCommand},
		{"host", "systemd", "", newSystemdCommand},
		{"host", "version", "", newVersionCommand},
		{"host", "config", "", newConfigCommand},
		{"host", "completion", "", newCompletionCommand},
	}
	for _, m := range makers {
		if name == m.name || name == m.alias && name != "" {
			makers = []maker{m}
			break
		}
	}
	for _, m := range makers {
		cmd := m.command(e)
		cmd.GroupID = m.group
		root.AddCommand(cmd)
	}
}
