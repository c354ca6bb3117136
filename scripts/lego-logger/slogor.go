// Package slogor stands in for the package of the same name when lego is built on a machine whose Go proxy does not
// have it. lego's command uses it for the colours of its log and for nothing else; these are the five names it needs.
package slogor

import (
	"io"
	"log/slog"
)

// OptionFn changes the options of a handler.
type OptionFn func(*slog.HandlerOptions)

// SetLevel sets the lowest level that is written.
func SetLevel(level slog.Leveler) OptionFn {
	return func(options *slog.HandlerOptions) { options.Level = level }
}

// SetTimeFormat is accepted; the text handler of log/slog has its own format.
func SetTimeFormat(string) OptionFn { return func(*slog.HandlerOptions) {} }

// DisableColor is accepted; there is no colour.
func DisableColor() OptionFn { return func(*slog.HandlerOptions) {} }

// NewHandler writes plain text lines.
func NewHandler(w io.Writer, apply ...OptionFn) slog.Handler {
	options := &slog.HandlerOptions{}
	for _, option := range apply {
		option(options)
	}
	return slog.NewTextHandler(w, options)
}
