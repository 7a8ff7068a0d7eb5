package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	shortestToken = 16
	sessionCookie = "multiattempt_session"
	sessionLasts  = 30 * 24 * time.Hour
)

// ErrToken: the token is too short to protect anything.
var ErrToken = fmt.Errorf("web.token is too short: want at least %d characters", shortestToken)

// access decides who may see and steer. With a token, a session must be opened with it. Without one, only this machine
// reaches the server, and a session only ties forms to the browser that they were shown to.
type access struct {
	token string
	key   []byte // of the sessions; follows from the token, so that a restart ends none
}

func newAccess(token string) (*access, error) {
	if token != "" && len(token) < shortestToken {
		return nil, ErrToken
	}
	a := &access{token: token, key: make([]byte, sha256.Size)}
	if token == "" {
		_, err := rand.Read(a.key)
		return a, err
	}
	a.key = a.sign([]byte(token), "session key")
	return a, nil
}

func (a *access) sign(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text)) // never fails
	return h.Sum(nil)
}

// localHosts refuses requests by a name that is not this machine's while the server is open to this machine alone: a page
// elsewhere may have its own name lead here.
func (a *access) localHosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.token == "" {
			host := r.Host
			if h, _, err := net.SplitHostPort(r.Host); err == nil {
				host = h
			}
			if !loopback(strings.Trim(host, "[]")) {
				http.Error(w, "Without a token these pages answer to localhost and 127.0.0.1 only; set web.token to reach them by another name.", http.StatusMisdirectedRequest)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// guard lets sessions through, and everybody where there is no token; a form's CSRF token is checked here, too.
func (a *access) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, ok := a.session(r)
		if bearer, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); found && a.isToken(bearer) {
			next.ServeHTTP(w, r) // a program: no browser sends this by itself, so there is no form to forge
			return
		}
		if !ok && a.token != "" {
			if r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") {
				http.Redirect(w, r, "/login?next="+base64.RawURLEncoding.EncodeToString([]byte(r.URL.RequestURI())), http.StatusSeeOther)
				return
			}
			http.Error(w, "Log in first.", http.StatusUnauthorized)
			return
		}
		if !ok {
			session = a.open(w, r)
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
			if subtle.ConstantTimeCompare([]byte(r.PostFormValue("csrf")), []byte(a.csrf(session))) != 1 {
				http.Error(w, "This form is out of date: load its page again.", http.StatusForbidden)
				return
			}
		}
		next.ServeHTTP(w, withCSRF(r, a.csrf(session)))
	})
}

// isToken compares in a time that says nothing of the token, its length included.
func (a *access) isToken(given string) bool {
	if a.token == "" {
		return false
	}
	x, y := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(a.token))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// csrf is what forms of a session carry.
func (a *access) csrf(session string) string {
	return base64.RawURLEncoding.EncodeToString(a.sign(a.key, "csrf "+session))
}

// session returns the request's session, if it is one of ours and not too old.
func (a *access) session(r *http.Request) (string, bool) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return "", false
	}
	text, mac, ok := strings.Cut(c.Value, ".")
	if !ok {
		return "", false
	}
	got, err := base64.RawURLEncoding.DecodeString(mac)
	if err != nil || !hmac.Equal(got, a.sign(a.key, "session "+text)) {
		return "", false
	}
	until, _, _ := strings.Cut(text, "-")
	unix, err := strconv.ParseInt(until, 10, 64)
	return c.Value, err == nil && time.Now().Unix() < unix
}

// open starts a session.
func (a *access) open(w http.ResponseWriter, r *http.Request) string {
	text := fmt.Sprintf("%d-%s", time.Now().Add(sessionLasts).Unix(), rand.Text())
	value := text + "." + base64.RawURLEncoding.EncodeToString(a.sign(a.key, "session "+text))
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/", MaxAge: int(sessionLasts.Seconds()), HttpOnly: true,
		SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	})
	return value
}

type loginView struct {
	Next  string
	Wrong bool
}

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) {
	if s.access.token == "" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	s.show(w, r, "login", http.StatusOK, loginView{Next: r.URL.Query().Get("next")})
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if !s.access.isToken(r.PostFormValue("token")) {
		s.show(w, r, "login", http.StatusForbidden, loginView{Next: r.PostFormValue("next"), Wrong: true})
		return
	}
	s.access.open(w, r)
	http.Redirect(w, r, localTarget(r.PostFormValue("next")), http.StatusSeeOther)
}

// localTarget is the page of this server that a log-in leads to.
func localTarget(next string) string {
	b, err := base64.RawURLEncoding.DecodeString(next)
	if err != nil || !strings.HasPrefix(string(b), "/") || strings.HasPrefix(string(b), "//") || strings.ContainsAny(string(b), "\\\r\n") {
		return "/"
	}
	return string(b)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// flashCookie carries one message to the next page.
const flashCookie = "multiattempt_message"

func flash(w http.ResponseWriter, text string) {
	const lives = 20 // seconds
	http.SetCookie(w, &http.Cookie{
		Name: flashCookie, Value: base64.RawURLEncoding.EncodeToString([]byte(text)), Path: "/", MaxAge: lives, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

// takeFlash returns the message for this page, once.
func takeFlash(w http.ResponseWriter, r *http.Request) string {
	c, err := r.Cookie(flashCookie)
	if err != nil {
		return ""
	}
	http.SetCookie(w, &http.Cookie{Name: flashCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	text, _ := base64.RawURLEncoding.DecodeString(c.Value) // of another program: shown as nothing
	return string(text)
}
