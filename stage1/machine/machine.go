// Package machine makes a pod known to systemd-machined, so that machinectl lists it.
//
// It knows as much of D-Bus as two calls take, and keeps nothing open. It never waits longer than Patience, for whoever
// listens where the bus should be. Invariant: no error of it says anything about the pod.
package machine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Patience is what a call may take, from the connection to the answer.
const Patience = 4 * time.Second

// systemBus is where the bus is unless the environment says otherwise.
const systemBus = "unix:path=/run/dbus/system_bus_socket"

// Name is what machined calls the pod. It has the UUID in it: a name that two pods share one after the other could be taken still.
func Name(uuid string) string { return "gantry-" + uuid }

// Register has machined list the pod, with the process leader, in whose unit it is.
func Register(uuid string, leader int) error {
	var b body
	b.text(Name(uuid))
	b.bytes(id(uuid))
	b.text("gantry")
	// The class whose inside machined does not enter: of a "container", machinectl shell, login and copy-to would act in the leader's namespaces,
	// which are the host's.
	b.text("vm")
	b.number(uint32(leader))
	b.text("") // no root directory: each app has its own
	return call("RegisterMachine", "sayssus", b)
}

// Unregister takes that back.
func Unregister(uuid string) error {
	var b body
	b.text(Name(uuid))
	return call("UnregisterMachine", "s", b)
}

// id is the 16 bytes of a UUID.
func id(uuid string) []byte {
	digits := strings.ReplaceAll(uuid, "-", "")
	out := make([]byte, 0, 16)
	for i := 0; i+2 <= len(digits); i += 2 {
		n, err := strconv.ParseUint(digits[i:i+2], 16, 8)
		if err != nil {
			return nil // machined takes none, too
		}
		out = append(out, byte(n))
	}
	return out
}

func call(method, signature string, b body) error {
	c, err := dial()
	if err != nil {
		return fmt.Errorf("connect to the system bus: %w", err)
	}
	defer c.conn.Close()
	if err := c.authenticate(); err != nil {
		return fmt.Errorf("talk to the system bus: %w", err)
	}
	if err := c.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", "", nil); err != nil {
		return fmt.Errorf("talk to the system bus: %w", err)
	}
	if err := c.call("org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager", method, signature, b); err != nil {
		return fmt.Errorf("ask systemd-machined: %w", err)
	}
	return nil
}

// dial connects to the first unix socket of the address.
func dial() (*client, error) {
	address := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS")
	if address == "" {
		address = systemBus
	}
	for one := range strings.SplitSeq(address, ";") {
		path, ok := strings.CutPrefix(one, "unix:path=")
		if !ok {
			continue
		}
		path, _, _ = strings.Cut(path, ",")
		conn, err := net.DialTimeout("unix", path, Patience)
		if err != nil {
			return nil, err
		}
		return &client{conn: conn}, conn.SetDeadline(time.Now().Add(Patience))
	}
	return nil, errors.New("DBUS_SYSTEM_BUS_ADDRESS names no unix socket")
}
