// Command cnifault is a CNI plugin that fails as it is told to. Tests chain it between plugins that work.
//
// ADD makes a real thing, a bridge on the host named by its pod; DEL removes it. Its configuration names a directory: the file
// "log" there gets a line per call, the file "stdin" what the last call was given, and a file named by the command (ADD, DEL, …)
// says which fault that command has. It knows nothing of gantry.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "linger" { // the daemon of the fault of that name
		time.Sleep(time.Hour)
		return
	}
	var conf struct {
		CNIVersion string          `json:"cniVersion"`
		Dir        string          `json:"dir"`
		Prev       json.RawMessage `json:"prevResult"`
	}
	stdin, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = json.Unmarshal(stdin, &conf)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(conf.Dir, "stdin"), stdin, 0o600)
	}
	if err != nil {
		fail(err)
	}
	command := os.Getenv("CNI_COMMAND")
	fault, _ := os.ReadFile(filepath.Join(conf.Dir, command))
	note(conf.Dir, fmt.Sprintf("%s netns=%v", command, os.Getenv("CNI_NETNS") != ""))
	switch how := strings.TrimSpace(string(fault)); how {
	case "half":
	case "garbage", "huge": // who says that it is done has done it, whatever it prints
		if err := obey(command); err != nil {
			fail(err)
		}
		misbehave(how)
	default:
		misbehave(how)
	}
	if err := obey(command); err != nil {
		fail(err)
	}
	if strings.TrimSpace(string(fault)) == "half-hang" {
		time.Sleep(time.Hour)
	}
	if strings.TrimSpace(string(fault)) == "half" {
		fail(errors.New("half of it is done"))
	}
	if command == "ADD" {
		if conf.Prev == nil {
			conf.Prev = json.RawMessage(fmt.Sprintf(`{"cniVersion": %q}`, conf.CNIVersion))
		}
		os.Stdout.Write(conf.Prev)
	}
}

// link is the name of the pod's bridge.
func link() string {
	sum := sha256.Sum256([]byte(os.Getenv("CNI_CONTAINERID") + os.Getenv("CNI_IFNAME")))
	return fmt.Sprintf("fault%x", sum[:4])
}

func obey(command string) error {
	switch command {
	case "ADD":
		attrs := netlink.NewLinkAttrs()
		attrs.Name = link()
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	case "DEL":
		l, err := netlink.LinkByName(link())
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	case "CHECK":
		_, err := netlink.LinkByName(link())
		return err
	}
	return nil
}

// misbehave does not return, unless the fault lets the plugin go on.
func misbehave(how string) {
	switch how {
	case "error":
		fmt.Print(`{"cniVersion": "1.0.0", "code": 100, "msg": "injected error", "details": "as told"}`)
		os.Exit(1)
	case "garbage-error":
		fmt.Print("\x00\x1b[31m{{{ not JSON")
		os.Exit(3)
	case "garbage":
		fmt.Print("\x00\x1b[31m{{{ not JSON")
		os.Exit(0)
	case "hang":
		child := lingerer() // in our process group, and with our stdout
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		_ = child.Start()
		time.Sleep(time.Hour)
	case "crash":
		_ = unix.Kill(os.Getpid(), unix.SIGSEGV)
		time.Sleep(time.Hour)
	case "huge":
		for range 64 {
			if _, err := io.WriteString(os.Stdout, strings.Repeat("x", 1<<20)); err != nil {
				os.Exit(1)
			}
		}
		os.Exit(0)
	case "daemon":
		child := lingerer()
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			fail(err)
		}
	}
}

func lingerer() *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		fail(err)
	}
	return exec.Command(self, "linger")
}

func note(dir, line string) {
	f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		fail(err)
	}
	fmt.Fprintln(f, line)
	_ = f.Close()
}

func fail(err error) {
	out, _ := json.Marshal(map[string]any{"cniVersion": "1.0.0", "code": 101, "msg": err.Error()})
	os.Stdout.Write(out)
	os.Exit(1)
}
