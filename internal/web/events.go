package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"multiattempt/internal/runs"
)

const (
	eventsEvery = 2 * time.Second  // how often a stream looks for something new
	eventsAlive = 15 * time.Second // how often it says that it lives
	eventsLast  = 30 * time.Minute // then the browser opens another
	mostStreams = 64
)

// events streams what changes: of one run with ?run=, else of all. An event says that there is something new; the page then
// loads what it shows.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return &problem{Status: http.StatusServiceUnavailable, Title: "Too many pages are open", Text: "Close some; this one does not update itself meanwhile."}
	}
	stream := http.NewResponseController(w)
	// The server's time limit for reading requests would end the stream.
	if err := stream.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	fmt.Fprint(w, "retry: 3000\n\n")
	name := r.URL.Query().Get("run")
	seen, end, spoke := "", time.Now().Add(eventsLast), time.Now()
	tick := time.NewTicker(eventsEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		state := s.state(r, name)
		switch {
		case !first && state != seen:
			fmt.Fprintf(w, "event: changed\ndata: %s\n\n", state)
			spoke = time.Now()
		case time.Since(spoke) > eventsAlive:
			fmt.Fprint(w, ": alive\n\n")
			spoke = time.Now()
		}
		seen = state
		if stream.Flush() != nil {
			return nil
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-s.ctx.Done():
			return nil
		case now := <-tick.C:
			if now.After(end) {
				return nil
			}
		}
	}
}

// state is different when there is something new to show.
func (s *Server) state(r *http.Request, name string) string {
	var parts []any
	if name == "" {
		if all, err := s.live.List(r.Context()); err == nil {
			for _, x := range all[:min(len(all), mostFilled)] {
				parts = append(parts, x.Run, x.State, x.Phase, x.Step)
			}
		}
		if names, err := s.runs.Names(r.Context()); err == nil {
			parts = append(parts, names)
		}
		return marshalled(parts)
	}
	if live, err := s.live.Look(r.Context(), name); err == nil {
		parts = append(parts, live.State, live.Phase, live.Step, live.Note, live.Stages, live.Troubles, live.Unanswered)
	}
	if run, err := s.runs.Run(r.Context(), name); err == nil {
		parts = append(parts, run.Last())
		s.indexNewest(run)
	}
	return marshalled(parts)
}

// indexNewest keeps the index of a run that somebody looks at up to date.
func (s *Server) indexNewest(run *runs.Run) {
	if ix := run.Indexed(); !ix.Building && ix.Of != len(run.Records()) {
		run.Index(s.ctx)
	}
}

func marshalled(v any) string {
	text, err := marshal(v)
	if err != nil {
		return err.Error()
	}
	return text
}

// marshal writes v on one line, safe to stand in a page.
func marshal(v any) (string, error) {
	var b strings.Builder
	if err := json.NewEncoder(&b).Encode(v); err != nil { // escapes <, > and &
		return "", err
	}
	return strings.TrimSpace(b.String()), nil
}
