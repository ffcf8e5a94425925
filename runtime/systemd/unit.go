package systemd

import (
	"slices"
	"strings"
)

// Unit is a service that runs a pod.
type Unit struct {
	Description string
	Gantry      string   // path of the program
	Run         []string // words of the run line after "run", quoted
	UUIDFile    string   // where the run line saves the UUID
	Where       []string // global flags that say where the pod is, for the other lines, quoted
	// Lines of the sections that are somebody's own, after ours: the later line of a setting counts.
	Unit, Service, Install []string
}

// DefaultUUIDFile is named after the unit, instance included.
const DefaultUUIDFile = "%t/gantry/%N.uuid"

// String is the text of the unit. Every line of [Service] is explained in docs/systemd.md.
func (u Unit) String() string {
	var b strings.Builder
	section := func(name string, ours, theirs []string) {
		if len(ours)+len(theirs) == 0 {
			return
		}
		b.WriteString("[" + name + "]\n")
		for _, l := range slices.Concat(ours, theirs) {
			b.WriteString(l + "\n")
		}
		b.WriteString("\n")
	}
	section("Unit", []string{"Description=" + u.Description, "Wants=network-online.target", "After=network-online.target"}, u.Unit)
	section("Service", slices.Concat(service, []string{
		"Restart=on-failure",
		"RuntimeDirectory=gantry", "RuntimeDirectoryPreserve=yes",
		"ExecStart=" + strings.Join(slices.Concat([]string{u.Gantry, "run"}, u.Run), " "),
		"ExecStopPost=-" + strings.Join(slices.Concat([]string{u.Gantry}, u.Where, []string{"rm", "--force", Quote("--uuid-file=" + u.UUIDFile)}), " "),
	}), u.Service)
	section("Install", nil, u.Install)
	return strings.TrimSuffix(b.String(), "\n")
}

// Quote makes one word of s for an Exec line, as systemd.service(5) reads it. Specifiers (%i) and variables (${X}) in s stay what they
// are: who means the characters writes %% and $$.
func Quote(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\n\r\"'\\;") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s) + `"`
}
