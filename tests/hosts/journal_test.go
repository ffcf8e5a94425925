package hosts_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/gantryrun/gantry/tests/await"
)

// The journal knows whose each line is; journalctl by app, by unit, and gantry logs say the same.
func TestJournal(t *testing.T) {
	m := boot(t)
	m.unit(t, "journal.service", contract+strings.Replace(run, "run ", "run --pod-name=talk ", 1)+
		busybox+" --name=web -- sh -c 'echo hello; sleep 0.2; echo oops >&2; printf unended; exec sleep 1000' --- "+
		busybox+" --name=db -- sh -c 'head -c 40000 /dev/zero | tr \"\\\\0\" x; echo; exec sleep 1000'\n")
	m.start(t, "journal.service")
	uuid := m.uuid(t, "journal.service")
	var lines []string
	await.Until(t, "three lines", func() bool {
		m.must(t, "journalctl", "--sync")
		lines = strings.Split(m.sh(t, "journalctl --output=json GANTRY_APP=web GANTRY_POD="+uuid), "\n")
		return len(lines) == 2
	})
	// A long line comes in pieces of 16 KB.
	long := "journalctl --all --output=cat GANTRY_APP=db GANTRY_POD=" + uuid + " | awk '{ n += length($0) } END { print NR, n }'"
	await.Until(t, "the end of the long line", func() bool { m.must(t, "journalctl", "--sync"); return m.sh(t, long) == "3 40000" })
	want := []map[string]string{
		{"MESSAGE": "hello", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "web", "GANTRY_POD_NAME": "talk", "_SYSTEMD_UNIT": "journal.service"},
		{"MESSAGE": "oops", "PRIORITY": "3"},
	}
	for i, line := range lines {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		for field, value := range want[i] {
			if got[field] != value {
				t.Errorf("line %d: %s is %v, want %s", i, field, got[field], value)
			}
		}
		if image, _ := got["GANTRY_IMAGE"].(string); !strings.Contains(image, "busybox") {
			t.Errorf("line %d: GANTRY_IMAGE is %v", i, got["GANTRY_IMAGE"])
		}
	}
	m.must(t, "systemctl", "stop", "journal.service")
	m.must(t, "journalctl", "--sync")
	const one = "journalctl --output=cat GANTRY_APP=web GANTRY_POD="
	if got := m.sh(t, one+uuid); got != "hello\noops\nunended" {
		t.Errorf("after the end: %q", got)
	}
	if got := m.sh(t, long); got != "3 40000" {
		t.Errorf("the long line came as %s", got)
	}
	if got := m.journal(t, "journal.service"); !strings.Contains(got, "hello\n") || !strings.Contains(got, "oops\n") {
		t.Errorf("by unit: %s", got)
	}
}

// gantry logs reads what the journal has.
func TestLogsAgree(t *testing.T) {
	m := boot(t)
	m.unit(t, "agree.service", contract+run+busybox+" --name=web -- sh -c 'for i in $(seq 200); do echo line $$i; done; exec sleep 1000'\n")
	m.start(t, "agree.service")
	uuid := m.uuid(t, "agree.service")
	var journal, logs string
	await.Until(t, "200 lines", func() bool {
		m.must(t, "journalctl", "--sync")
		journal = m.sh(t, "journalctl --output=cat GANTRY_APP=web GANTRY_POD="+uuid)
		logs = m.sh(t, "gantry logs --app=web "+uuid)
		return strings.Count(journal, "\n") == 199
	})
	if journal != logs {
		t.Errorf("gantry logs: %q, journal: %q", logs, journal)
	}
}

// --stdout=journal is journald's own socket: the lines are there, by app and unit, and nobody copied them.
func TestJournalUncopied(t *testing.T) {
	m := boot(t)
	m.unit(t, "uncopied.service", contract+run+busybox+" --name=web --user=1000 --stdout=journal --stderr=journal -- sh -c 'echo hello; sleep 0.2; echo oops >&2; exec sleep 1000'\n")
	m.start(t, "uncopied.service")
	uuid := m.uuid(t, "uncopied.service")
	var got string
	await.Until(t, "two lines", func() bool {
		m.must(t, "journalctl", "--sync")
		got = m.sh(t, "journalctl --unit=uncopied.service SYSLOG_IDENTIFIER=web --output=json | grep -o '\"MESSAGE\":\"[a-z]*\"\\|\"PRIORITY\":\"[0-9]\"' | sort | tr '\\n' ' '")
		return strings.Count(got, "MESSAGE") == 2
	})
	if want := `"MESSAGE":"hello" "MESSAGE":"oops" "PRIORITY":"3" "PRIORITY":"6"`; got != want {
		t.Errorf("journal: %s, want %s", got, want)
	}
	if got := m.sh(t, "ls /var/lib/gantry/pods/"+uuid+"/logs 2>&1 || true"); !strings.Contains(got, "No such file") {
		t.Errorf("logs: %s", got)
	}
}
