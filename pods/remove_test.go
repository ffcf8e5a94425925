package pods

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rm, gc and a supervisor with --rm may all be at it: what another one has removed is removed.
func TestRemoveTreeAtOnce(t *testing.T) {
	for round := range 20 {
		top := filepath.Join(t.TempDir(), fmt.Sprint(round))
		for i := range 60 {
			if err := os.MkdirAll(filepath.Join(top, fmt.Sprintf("a/%d/b", i)), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := RemoveTree(top); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if _, err := os.Lstat(top); !os.IsNotExist(err) {
			t.Fatalf("left: %v", err)
		}
	}
}

// A FIFO in a file's place, whoever put it there, is an error and no wait for somebody who writes.
func TestNoFileIsWaitedFor(t *testing.T) {
	s := In(t.TempDir())
	for _, name := range []string{manifestFile, runFile, exitFile, lockFile, filepath.Join(appsDir, "web", AppFile)} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			p := prepare(t, s, "")
			path := filepath.Join(s.PodPath(p.UUID), name)
			_ = os.Remove(path)
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = p.State()
				_, _ = s.Glance(p.UUID)
				_, _ = p.Manifest()
				_, _ = p.Run()
				_, _ = p.Exit()
				_, _ = p.Apps()
				_ = p.WaitDead(t.Context())
			}()
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Fatal("it waits")
			}
		})
	}
}

// Nobody holds the life of a pod that is gone.
func TestWaitDeadOfNoPod(t *testing.T) {
	s := In(t.TempDir())
	p := prepare(t, s, "")
	if p.Removed() {
		t.Error("it is there")
	}
	if err := s.Remove(p); err != nil {
		t.Fatal(err)
	}
	if !p.Removed() {
		t.Error("it is not there")
	}
	if err := p.WaitDead(t.Context()); err != nil {
		t.Error(err)
	}
}
