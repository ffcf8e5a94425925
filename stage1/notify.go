package stage1

import (
	"encoding/json"
	"os"

	"github.com/coreos/go-systemd/v22/daemon"
)

// announcer tells whoever started the pod that it is ready, or why it will not be: systemd by its notification socket, a
// waiting `gantry run --detach` by a line on a pipe.
type announcer struct{ pipe *os.File }

// Announcement is the line on the pipe of a detached run.
type announcement struct {
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"`
	Code  int    `json:"code,omitempty"`
}

func (a *announcer) ready() {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS=running") // nobody listening is fine
	a.line(announcement{Ready: true})
}

func (a *announcer) failed(code int, why string) {
	a.line(announcement{Error: why, Code: code})
}

func (a *announcer) stopping() {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping+"\nSTATUS=stopping")
}

// line is said once.
func (a *announcer) line(msg announcement) {
	if a.pipe == nil {
		return
	}
	data, err := json.Marshal(msg)
	if err == nil {
		_, _ = a.pipe.Write(append(data, '\n')) // who waited may have gone: the pod does not care
	}
	_ = a.pipe.Close()
	a.pipe = nil
}
