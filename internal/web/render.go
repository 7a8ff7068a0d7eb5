package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"multiattempt/internal/blob"
	"multiattempt/internal/printable"
	"multiattempt/internal/runs"
)

// pages are the templates by name; each has the layout around it.
type pages struct {
	byName  map[string]*template.Template
	version string // of the static files, in their addresses
}

func loadPages() (*pages, error) {
	p := &pages{byName: map[string]*template.Template{}}
	h := sha256.New()
	err := fs.WalkDir(embedded, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := embedded.ReadFile(name)
		_, _ = h.Write(b) // never fails
		return err
	})
	if err != nil {
		return nil, err
	}
	p.version = hex.EncodeToString(h.Sum(nil)[:6])
	files, err := fs.Glob(embedded, "templates/*.html")
	if err != nil {
		return nil, err
	}
	shared := []string{"templates/layout.html", "templates/parts.html"}
	for _, file := range files {
		if slices.Contains(shared, file) {
			continue
		}
		t, err := template.New("layout.html").Funcs(functions).ParseFS(embedded, append(shared, file)...)
		if err != nil {
			return nil, err
		}
		p.byName[strings.TrimSuffix(path.Base(file), ".html")] = t
	}
	return p, nil
}

// view is what the layout needs besides the page's own data.
type view struct {
	Page    string
	Version string
	CSRF    string
	Locked  bool // there is a token: one can log out
	Home    string
	Data    any
}

type csrfKey struct{}

func withCSRF(r *http.Request, token string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), csrfKey{}, token))
}

// show writes a page whole, or an error instead.
func (s *Server) show(w http.ResponseWriter, r *http.Request, name string, status int, data any) {
	csrf, _ := r.Context().Value(csrfKey{}).(string)
	v := view{Page: name, Version: s.pages.version, CSRF: csrf, Locked: s.access.token != "", Home: s.live.home(), Data: data}
	var b bytes.Buffer
	if err := s.pages.byName[name].Execute(&b, v); err != nil {
		s.log.Error("page not rendered", "page", name, "error", err)
		http.Error(w, "This page failed. The log says more.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w) // who hung up needs no answer
}

// problem is an error with a page of its own.
type problem struct {
	Status      int
	Title, Text string
	Suggestions []string // runs of a similar name
	cause       error
}

func (p *problem) Error() string { return p.Title + ": " + p.Text }
func (p *problem) Unwrap() error { return p.cause }

func notFound(text string) error {
	return &problem{Status: http.StatusNotFound, Title: "Not found", Text: text}
}

func badRequest(text string, args ...any) error {
	return &problem{Status: http.StatusBadRequest, Title: "That makes no sense", Text: fmt.Sprintf(text, args...)}
}

// page makes a handler of one that returns its error, which becomes a page that says what is wrong.
func (s *Server) page(handle func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := handle(w, r)
		if err == nil || r.Context().Err() != nil {
			return
		}
		p := explain(err)
		if p.Status >= http.StatusInternalServerError {
			s.log.Warn("page failed", "path", r.URL.Path, "error", err)
		}
		if strings.HasSuffix(r.URL.Path, ".json") {
			http.Error(w, p.Error(), p.Status)
			return
		}
		s.show(w, r, "error", p.Status, p)
	})
}

// explain says in words what an error means for who reads the page.
func explain(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, runs.ErrNone), errors.Is(err, blob.ErrNotFound):
		return &problem{Status: http.StatusNotFound, Title: "Not found", Text: err.Error(), cause: err}
	case errors.Is(err, blob.ErrCorrupt):
		return &problem{Status: http.StatusBadGateway, Title: "Damaged object", Text: err.Error(), cause: err}
	default:
		return &problem{
			Status: http.StatusBadGateway, Title: "The store does not answer",
			Text: err.Error(), cause: err,
		}
	}
}

var functions = template.FuncMap{
	"text":      printable.Text,
	"line":      func(width int, s string) string { return printable.Line(s, width) },
	"pct":       func(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) },
	"signed":    func(x float64) string { return fmt.Sprintf("%+.3f", x) },
	"whole":     func(x float64) string { return thousands(int(math.Round(x))) },
	"num":       number,
	"ago":       ago,
	"when":      func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"iso":       func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"bytes":     byteSize,
	"short":     func(d blob.Digest) string { return d.Short() },
	"inc":       func(n int) int { return n + 1 },
	"words":     func(v any) string { return strings.ReplaceAll(fmt.Sprint(v), "_", " ") },
	"count":     thousands,
	"share":     func(part, of int) float64 { return float64(part) / math.Max(1, float64(of)) },
	"duration":  inWords,
	"dict":      dict,
	"list":      func(items ...string) []string { return items },
	"bytes64":   func(n int) string { return byteSize(int64(n)) },
	"evaluated": func(run string, step int, set string, k int) string { return evaluationAddress(run, step, set, k, 0) },
}

// dict makes a map of alternating keys and values, for templates that need several.
func dict(pairs ...any) (map[string]any, error) {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		key, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: key %v is no text", pairs[i])
		}
		m[key] = pairs[i+1]
	}
	return m, nil
}

// number writes a measurement with about four digits.
func number(x float64) string {
	switch a := math.Abs(x); {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "–"
	case a == 0:
		return "0"
	case a >= 1e6 || a < 1e-3:
		return strconv.FormatFloat(x, 'g', 3, 64)
	case a >= 1000:
		return thousands(int(math.Round(x)))
	default:
		return strconv.FormatFloat(x, 'g', 4, 64)
	}
}

// thousands writes a count with thin spaces between groups of three digits.
func thousands(n int) string {
	s := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, s = "−", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return sign + s
}

func byteSize(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	default:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
}

// inWords rounds a duration as one would say it.
func inWords(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(math.Round(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days %d h", int(d.Hours())/24, int(d.Hours())%24)
	}
}

func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return inWords(max(0, time.Since(t))) + " ago"
}
