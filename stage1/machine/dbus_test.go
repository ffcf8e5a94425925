package machine

import (
	"encoding/binary"
	"net"
	"testing"
)

// answer is what a bus could send to the call with this serial.
func answer(kind byte, serial uint32, failure, text string) []byte {
	var fields, args body
	if failure != "" {
		fields.field(fieldError, "s", failure)
	}
	fields.pad(8)
	fields = append(fields, fieldReply, 1, 'u', 0)
	fields.number(serial)
	if text != "" {
		fields.field(fieldSignature, "g", "s")
		args.text(text)
	}
	head := body{'l', kind, 0, 1}
	head.number(uint32(len(args)))
	head.number(7)
	head.number(uint32(len(fields)))
	head = append(head, fields...)
	head.pad(8)
	return append(head, args...)
}

func receive(data []byte) (message, error) {
	bus, us := net.Pipe()
	go func() {
		_, _ = bus.Write(data)
		_ = bus.Close()
	}()
	defer us.Close()
	return (&client{conn: us}).receive()
}

func TestReceive(t *testing.T) {
	m, err := receive(answer(typeError, 3, "org.example.Error", "no machine"))
	if want := (message{kind: typeError, reply: 3, failure: "org.example.Error", text: "no machine"}); err != nil || m != want {
		t.Errorf("%+v, %v; want %+v", m, err, want)
	}
	if m, err := receive(answer(typeReturn, 9, "", "")); err != nil || m.reply != 9 || m.kind != typeReturn {
		t.Errorf("%+v, %v", m, err)
	}
	huge := answer(typeReturn, 1, "", "")
	binary.LittleEndian.PutUint32(huge[4:], 1<<31)
	if m, err := receive(huge); err == nil {
		t.Errorf("a message of 2 GB: %+v", m)
	}
}

// What calls itself the bus may send anything.
func FuzzReceive(f *testing.F) {
	f.Add(answer(typeError, 3, "org.example.Error", "no machine"))
	f.Add(answer(typeReturn, 9, "", "x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = receive(data)
	})
}
