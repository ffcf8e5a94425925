package machine

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
)

// client speaks the D-Bus protocol as far as two calls need it: https://dbus.freedesktop.org/doc/dbus-specification.html
type client struct {
	conn   net.Conn
	serial uint32
}

// authenticate says who we are, which the kernel tells the bus too.
func (c *client) authenticate() error {
	uid := hex.EncodeToString([]byte(strconv.Itoa(os.Getuid())))
	if _, err := c.conn.Write([]byte("\x00AUTH EXTERNAL " + uid + "\r\n")); err != nil {
		return err
	}
	var line []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(line), "\r\n"); line = append(line, one[0]) { // not a byte of what follows
		if len(line) > 512 {
			return errors.New("it does not speak D-Bus")
		}
		if _, err := io.ReadFull(c.conn, one); err != nil {
			return err
		}
	}
	if !strings.HasPrefix(string(line), "OK ") {
		return fmt.Errorf("it refuses us: %q", strings.TrimSpace(string(line)))
	}
	_, err := c.conn.Write([]byte("BEGIN\r\n"))
	return err
}

// Types of messages, and the fields of their header that are of interest.
const (
	typeCall, typeReturn, typeError = 1, 2, 3

	fieldPath, fieldInterface, fieldMember, fieldError, fieldReply, fieldDestination, fieldSignature = 1, 2, 3, 4, 5, 6, 8
)

// call sends a call and waits for its answer. What else arrives is dropped.
func (c *client) call(destination, path, iface, member, signature string, args body) error {
	c.serial++
	var fields body
	fields.field(fieldPath, "o", path)
	fields.field(fieldInterface, "s", iface)
	fields.field(fieldMember, "s", member)
	fields.field(fieldDestination, "s", destination)
	if signature != "" {
		fields.field(fieldSignature, "g", signature)
	}
	head := body{'l', typeCall, 0, 1}
	head.number(uint32(len(args)))
	head.number(c.serial)
	head.number(uint32(len(fields)))
	head = append(head, fields...)
	head.pad(8)
	if _, err := c.conn.Write(append(head, args...)); err != nil {
		return err
	}
	for {
		m, err := c.receive()
		if err != nil {
			return err
		}
		if m.reply != c.serial {
			continue
		}
		switch m.kind {
		case typeReturn:
			return nil
		case typeError:
			return fmt.Errorf("%s: %q", m.failure, m.text)
		}
	}
}

// message is an answer.
type message struct {
	kind    byte
	reply   uint32
	failure string
	text    string // the first argument of an error
}

// longest is what an answer to us may be.
const longest = 64 << 10

func (c *client) receive() (message, error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(c.conn, head); err != nil {
		return message{}, err
	}
	size, fields := binary.LittleEndian.Uint32(head[4:]), binary.LittleEndian.Uint32(head[12:])
	if head[0] != 'l' || size > longest || fields > longest {
		return message{}, errors.New("it sends what is no message for us")
	}
	fields = (fields + 7) &^ 7
	rest := make([]byte, fields+size)
	if _, err := io.ReadFull(c.conn, rest); err != nil {
		return message{}, err
	}
	m := message{kind: head[1]}
	m.readFields(reader{rest[:fields]})
	if m.kind == typeError {
		args := reader{rest[fields:]}
		m.text = args.text()
	}
	return m, nil
}

// readFields reads an array of (number, variant), each from a multiple of eight on, which the first is.
func (m *message) readFields(r reader) {
	all := len(r.rest)
	for len(r.rest) >= 4 {
		code, kind := r.rest[0], string(r.rest[2:3])
		r.skip(4)
		var text string
		var number uint32
		switch kind {
		case "s", "o":
			text = r.text()
		case "g":
			if len(r.rest) > 0 {
				r.skip(int(r.rest[0]) + 2)
			}
		case "u":
			number = r.number()
		default:
			return
		}
		switch code {
		case fieldError:
			m.failure = text
		case fieldReply:
			m.reply = number
		}
		if over := (all - len(r.rest)) % 8; over > 0 {
			r.skip(8 - over)
		}
	}
}

// reader takes values off the front. What is not there is zero.
type reader struct{ rest []byte }

func (r *reader) skip(n int) { r.rest = r.rest[min(n, len(r.rest)):] }

func (r *reader) number() uint32 {
	if len(r.rest) < 4 {
		r.rest = nil
		return 0
	}
	n := binary.LittleEndian.Uint32(r.rest)
	r.skip(4)
	return n
}

func (r *reader) text() string {
	n := int(r.number())
	if n >= len(r.rest) {
		r.rest = nil
		return ""
	}
	s := string(r.rest[:n])
	r.skip(n + 1)
	return s
}

// body is arguments, or a header, as it is being written.
type body []byte

func (b *body) pad(to int) {
	for len(*b)%to != 0 {
		*b = append(*b, 0)
	}
}

func (b *body) number(n uint32) {
	b.pad(4)
	*b = binary.LittleEndian.AppendUint32(*b, n)
}

func (b *body) text(s string) {
	b.number(uint32(len(s)))
	*b = append(append(*b, s...), 0)
}

func (b *body) bytes(data []byte) {
	b.number(uint32(len(data)))
	*b = append(*b, data...)
}

// field is one of the header's: its number, and a variant.
func (b *body) field(code byte, kind, value string) {
	b.pad(8)
	*b = append(*b, code, 1, kind[0], 0)
	if kind == "g" {
		*b = append(append(append(*b, byte(len(value))), value...), 0)
		return
	}
	b.text(value)
}
