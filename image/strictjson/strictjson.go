// Package strictjson decodes JSON of foreign origin that two parsers might read differently.
//
// It knows JSON's ambiguities, and nothing of what documents mean. Its invariant: what Decode accepts has each key once
// in its object, in whatever case, nothing after it, and no field that the target does not know.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

const maxNesting = 32

// Decode checks data and decodes it; unknown fields are errors.
func Decode(data []byte, into any) error {
	if err := Check(data); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// Check refuses a key twice in one object, in whatever case (Go's decoder takes "Critical" for "critical", and the last
// of two), bytes after the document, and bottomless nesting.
func Check(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := walk(dec, 0); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON document is cut off")
	} else if err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("bytes after the JSON document")
	}
	return nil
}

func walk(dec *json.Decoder, depth int) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxNesting {
		return fmt.Errorf("nested deeper than %d", maxNesting)
	}
	seen := map[string]bool{}
	for dec.More() {
		if delim == '{' {
			if err := readKey(dec, seen); err != nil {
				return err
			}
		}
		if err := walk(dec, depth+1); err != nil {
			return err
		}
	}
	_, err = dec.Token() // the closing delimiter
	return err
}

func readKey(dec *json.Decoder, seen map[string]bool) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	key, _ := token.(string) // the decoder knows that keys are strings
	folded := strings.ToLower(strings.ToUpper(key))
	if seen[folded] {
		return fmt.Errorf("field %q twice", key)
	}
	seen[folded] = true
	return nil
}
