package runtime

import (
	"encoding/json"
	"os"
	"testing"
)

// TestDamagedSeccompProfile: the cache is no more than that: what is damaged in it is made again.
func TestDamagedSeccompProfile(t *testing.T) {
	r, ref := testRuntime(t), testImage(t)
	for _, content := range []string{"whole", "", `{"defaultAction":`} {
		if content != "whole" {
			path := seccompProfile(t, r)
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_ = left(t, r, ref, nil, nil)
		data, err := os.ReadFile(seccompProfile(t, r))
		if err != nil || !json.Valid(data) {
			t.Errorf("after %q: %.40q %v", content, data, err)
		}
	}
}

func seccompProfile(t *testing.T, r *Runtime) string {
	t.Helper()
	uuids, err := r.Pods().UUIDs()
	if err != nil || len(uuids) == 0 {
		t.Fatal(uuids, err)
	}
	pod, err := r.Pods().Open(uuids[0])
	if err != nil {
		t.Fatal(err)
	}
	defer pod.Close()
	apps, err := pod.Apps()
	if err != nil || apps[0].Seccomp == nil {
		t.Fatal(apps, err)
	}
	return apps[0].Seccomp.Profile
}
