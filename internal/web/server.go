// Package web shows runs in a browser: what they do now, how they learn, what the model said, how runs compare.
//
// Everything comes from one store and, where there is one, a running service. Pages load nothing from elsewhere, run no
// script but the binary's own, and treat all text of models and problems as hostile.
package web

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"multiattempt/internal/blob"
	"multiattempt/internal/runs"
)

//go:embed static templates
var embedded embed.FS

// Options say what a Server shows, and to whom.
type Options struct {
	Store    blob.Store
	CacheDir string // absolute; for what can be made again: the index of dialogues
	Live     Live   // nil: the store alone
	Presets  fs.FS  // NAME.yaml of spec.Run
	// Token, when not empty, must be given before anything is shown. Listen wants one wherever others can reach it.
	Token string
	Log   *slog.Logger
}

// Server answers a browser. Serve it with Handler, and end it by ending the context of New.
type Server struct {
	ctx     context.Context
	runs    *runs.Reader
	live    *cachedLive
	presets fs.FS
	access  *access
	pages   *pages
	log     *slog.Logger
	handler http.Handler
	tokens  tokenizers
	streams chan struct{} // one for each open event stream
}

// New returns a server whose work in the background ends with ctx.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p, err := loadPages()
	if err != nil {
		return nil, err
	}
	a, err := newAccess(o.Token)
	if err != nil {
		return nil, err
	}
	s := &Server{
		ctx: ctx, runs: runs.NewReader(o.Store, o.CacheDir), live: newCachedLive(o.Live), presets: o.Presets,
		access: a, pages: p, log: o.Log, streams: make(chan struct{}, mostStreams),
	}
	s.handler = s.routes()
	return s, nil
}

// Wait returns when the work in the background has ended, which it does soon after the context of New.
func (s *Server) Wait() { s.runs.Wait() }

// Handler answers requests.
func (s *Server) Handler() http.Handler { return s.handler }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	static, err := fs.Sub(embedded, "static")
	if err != nil {
		panic(err) // the folder is in the binary
	}
	files := http.StripPrefix("/static/", http.FileServerFS(static))
	mux.Handle("GET /static/", cached(files))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /login", s.loginPage)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", s.logout)
	for pattern, handle := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /{$}":                              s.runsPage,
		"GET /compare":                          s.comparePage,
		"GET /problem":                          s.problemPage,
		"GET /runs/{run}":                       s.runPage,
		"GET /runs/{run}/series.json":           s.series,
		"GET /runs/{run}/dialogues":             s.dialoguesPage,
		"GET /runs/{run}/dialogues/{step}/{at}": s.dialoguePage,
		"GET /runs/{run}/dialogues/{step}/{at}/tokens.json":       s.tokenScores,
		"GET /runs/{run}/dialogues/{step}/{at}/attempt/{n}":       s.attemptText,
		"GET /runs/{run}/evaluations/{step}/{k}/{at}":             s.evaluationDialogue,
		"GET /runs/{run}/evaluations/{step}/{k}/{at}/tokens.json": s.evaluationTokens,
		"GET /runs/{run}/evaluations/{step}/{k}/{at}/attempt/{n}": s.evaluationAttempt,
		"POST /runs/{run}/steer":                                  s.steer,
		"GET /events":                                             s.events,
		"GET /":                                                   func(http.ResponseWriter, *http.Request) error { return notFound("There is no such page.") },
	} {
		mux.Handle(pattern, s.access.guard(s.page(handle)))
	}
	return s.recovering(secured(s.access.localHosts(http.NewCrossOriginProtection().Handler(compressed(mux)))))
}

// contentPolicy lets a page load what this server serves, and nothing else; no script or style stands inline.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// cached lets a browser keep a file for as long as the binary's version is in its address.
func cached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		next.ServeHTTP(w, r)
	})
}

// recovering turns a panic into an answer, and leaves the rest of the server alone.
func (s *Server) recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(v)
				}
				s.log.Error("page panicked", "path", r.URL.Path, "error", fmt.Sprint(v))
				http.Error(w, "This page failed. The log says more.", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// Listen opens address, and refuses one that others can reach when there is no token.
func (s *Server) Listen(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: want host:port, for example 127.0.0.1:8234", ErrAddress, address)
	}
	if s.access.token == "" && !loopback(host) {
		return nil, fmt.Errorf("%w: %s can be reached by others: set web.token ($MULTIATTEMPT_WEB_TOKEN), at least %d characters, or listen on 127.0.0.1",
			ErrAddress, address, shortestToken)
	}
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", address)
}

// ErrAddress: the server does not listen there.
var ErrAddress = errors.New("cannot listen")

// loopback reports whether only this machine reaches host.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Serve answers requests on l until the context of New ends.
func (s *Server) Serve(l net.Listener) error {
	server := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return s.ctx },
	}
	stop := context.AfterFunc(s.ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close() // streams that did not end by themselves
		}
	})
	defer stop()
	err := server.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
