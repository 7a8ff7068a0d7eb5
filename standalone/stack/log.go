package stack

import (
	"context"
	"log/slog"
	"os"

	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
)

// serverLog hands the server's log, from level on, to slog.
type serverLog struct {
	to    *slog.Logger
	level *slog.LevelVar
}

var (
	_ log.Logger      = serverLog{}
	_ log.SLogWrapper = serverLog{} // parts of the server ask for a *slog.Logger
)

func (l serverLog) Debug(msg string, tags ...tag.Tag)  { l.emit(slog.LevelDebug, msg, tags) }
func (l serverLog) Info(msg string, tags ...tag.Tag)   { l.emit(slog.LevelInfo, msg, tags) }
func (l serverLog) Warn(msg string, tags ...tag.Tag)   { l.emit(slog.LevelWarn, msg, tags) }
func (l serverLog) Error(msg string, tags ...tag.Tag)  { l.emit(slog.LevelError, msg, tags) }
func (l serverLog) DPanic(msg string, tags ...tag.Tag) { l.emit(slog.LevelError, msg, tags) }

// Panic must not return.
func (l serverLog) Panic(msg string, tags ...tag.Tag) { l.Fatal(msg, tags...) }

// Fatal must not return: the server relies on it. Everything here survives the death of the process.
func (l serverLog) Fatal(msg string, tags ...tag.Tag) {
	l.emit(slog.LevelError, msg, tags)
	os.Exit(1) //nolint:forbidigo // see above
}

// SLog implements log.SLogWrapper.
func (l serverLog) SLog() *slog.Logger { return l.to }

func (l serverLog) emit(level slog.Level, msg string, tags []tag.Tag) {
	if level < l.level.Level() || !l.to.Enabled(context.Background(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, len(tags))
	for _, t := range tags {
		attrs = append(attrs, slog.Any(t.Key(), t.Value()))
	}
	l.to.LogAttrs(context.Background(), level, msg, attrs...) //nolint:sloglint // the message is the server's
}

// silent drops the log of the client that sets the namespace up: its errors are returned.
type silent struct{}

func (silent) Debug(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}
