package bundle

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// StopSignal is the signal that asks the app to end: the user's, else the image's, else SIGTERM. An image's that does
// not exist is SIGTERM, as in podman.
func StopSignal(flag, image string) (string, error) {
	if flag != "" {
		return ParseSignal(flag)
	}
	if s, err := ParseSignal(image); err == nil {
		return s, nil
	}
	return "SIGTERM", nil
}

// ParseSignal takes a name with or without SIG, or a number, and returns the name, "SIGRTMIN+3" included.
func ParseSignal(s string) (string, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if name := unix.SignalName(unix.Signal(n)); name != "" {
			return name, nil
		}
		return "", fmt.Errorf("unknown signal %q", clip(s))
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if base, offset, ok := strings.Cut(name, "SIGRTMIN+"); ok && base == "" {
		if n, err := strconv.Atoi(offset); err == nil && n >= 0 && n <= 30 {
			return name, nil
		}
	}
	if unix.SignalNum(name) == 0 {
		return "", fmt.Errorf("unknown signal %q", clip(s))
	}
	return name, nil
}
