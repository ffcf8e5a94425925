// Package printable makes foreign text safe for a terminal. It knows runes, never who wrote them. Its invariant: what it returns moves no cursor,
// and text that is printable comes back as it was.
package printable

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text makes foreign text safe to print: names, labels and messages of registries may hold escape sequences that
// move the cursor, change the title or paste into the shell. Printable text stays as it is, tabs included.
func Text(s string) string {
	if strings.IndexFunc(s, Unsafe) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if Unsafe(r) || r == utf8.RuneError && size == 1 {
			q := strconv.QuoteToASCII(s[:size])
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// Unsafe reports control characters, and those that reorder text (CVE-2021-42574).
func Unsafe(r rune) bool {
	return r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}
