package pods

import (
	"bytes"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// app.json is never there half-written: who adds an app to a pod that runs may be killed at any moment.
func TestAddAppIsWholeOrNot(t *testing.T) {
	d, err := In(t.TempDir()).Draft(NewUUID())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.WriteFile(AppPath("web", ConfigFile), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, filepath.Join(d.Path(), AppPath("web", "")), unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	if err := d.AddApp(&App{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	n, err := unix.Read(fd, buf)
	if err != nil {
		t.Fatal(err)
	}
	var how []uint32 // the name came to be
	for b := buf[:n]; len(b) > 0; {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
		end := unix.SizeofInotifyEvent + int(e.Len)
		if name := bytes.TrimRight(b[unix.SizeofInotifyEvent:end], "\x00"); string(name) == AppFile {
			how = append(how, e.Mask)
		}
		b = b[end:]
	}
	if len(how) != 1 || how[0] != unix.IN_MOVED_TO {
		t.Errorf("app.json came by events %#x, want one rename", how)
	}
}
