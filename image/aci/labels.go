package aci

import (
	"fmt"

	"github.com/gantryrun/gantry/image/strictjson"
)

// Names of event handlers.
const (
	PreStart = "pre-start"
	PostStop = "post-stop"
)

// Handlers are the event handlers that the labels of a configuration hold. Any image can carry such a label, so it is checked as an
// image manifest's are.
func Handlers(labels map[string]string) ([]EventHandler, error) {
	var handlers []EventHandler
	if err := decodeLabel(labels, LabelEventHandlers, &handlers); err != nil {
		return nil, err
	}
	return handlers, checkHandlers(handlers)
}

// decodeLabel leaves into alone where there is no such label.
func decodeLabel(labels map[string]string, name string, into any) error {
	text := labels[name]
	if text == "" {
		return nil
	}
	if err := strictjson.Decode([]byte(text), into); err != nil {
		return fmt.Errorf("%w: label %s: %w", ErrInvalid, name, err)
	}
	return nil
}
