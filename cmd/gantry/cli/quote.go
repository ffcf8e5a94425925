package cli

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// quoteControl makes foreign text safe to print: names, labels and messages of registries may hold escape sequences that
// move the cursor, change the title or paste into the shell. Printable text stays as it is, tabs included.
func quoteControl(s string) string {
	if strings.IndexFunc(s, unsafeRune) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if unsafeRune(r) || r == utf8.RuneError && size == 1 {
			q := strconv.QuoteToASCII(s[:size])
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// unsafeRune: control characters, and those that reorder text (CVE-2021-42574).
func unsafeRune(r rune) bool {
	return r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}
