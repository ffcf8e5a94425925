package cli

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantryrun/gantry/runtime/config"
)

func newVersionCommand(e *env) *cobra.Command {
	var format string
	cmd := verb("version [flags]", "Print the versions of gantry and of everything linked", between(0, 0))
	formatVar(cmd.Flags(), &format)
	cmd.RunE = func(*cobra.Command, []string) error { return runVersion(e, format) }
	return cmd
}

// versions is what the linker wrote into the program.
type versions struct {
	Gantry  string            `json:"gantry"`
	Go      string            `json:"go"`
	Commit  string            `json:"commit,omitempty"`
	Modules map[string]string `json:"modules"`
}

func readVersions() versions {
	v := versions{Gantry: "unknown", Modules: map[string]string{}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Gantry, v.Go = info.Main.Version, info.GoVersion
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value
		}
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		v.Modules[m.Path] = m.Version
	}
	return v
}

func runVersion(e *env, format string) error {
	v := readVersions()
	if isJSON(format) {
		return writeJSON(e.stdout, v)
	}
	fmt.Fprintf(e.stdout, "gantry %s\n%s\n", v.Gantry, v.Go)
	if v.Commit != "" {
		fmt.Fprintf(e.stdout, "commit %s\n", v.Commit)
	}
	var lines []string
	for path, version := range v.Modules {
		lines = append(lines, path+" "+version)
	}
	slices.Sort(lines)
	fmt.Fprintln(e.stdout, strings.Join(lines, "\n"))
	return nil
}

func newConfigCommand(e *env) *cobra.Command {
	var pretty bool
	cmd := verb("config [flags]", "Print the merged configuration as JSON", between(0, 0))
	prettyVar(cmd.Flags(), &pretty, true)
	cmd.RunE = func(*cobra.Command, []string) error { return runConfig(e, pretty) }
	return cmd
}

func runConfig(e *env, pretty bool) error {
	c, err := config.Load(e.configDirs())
	if err != nil {
		return err
	}
	r, err := e.runtime()
	if err != nil {
		return err
	}
	c.Data, c.CNI = r.Dir, r.Networks.PluginDirs
	if c.Stage1 == "" {
		c.Stage1 = "default"
	}
	return encodeJSON(e.stdout, struct {
		Directories []string       `json:"directories"`
		Stage0      *config.Config `json:"stage0"`
		NetDirs     []string       `json:"netDirs"`
		Programs    []string       `json:"programs"`
	}{e.configDirs().List(), c, r.Networks.Dirs, r.Programs.Dirs()}, pretty)
}
