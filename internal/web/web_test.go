package web_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/web"
)

// visitor is a browser without scripts.
type visitor struct {
	*http.Client
	t *testing.T
	s *site
}

func (s *site) visitor(t *testing.T) visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return visitor{Client: &http.Client{Jar: jar}, t: t, s: s}
}

// get returns a page's status and text.
func (v visitor) get(path string) (int, string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.s.URL+path, nil)
	require.NoError(v.t, err)
	r.Header.Set("Accept", "text/html")
	return v.do(r)
}

func (v visitor) do(r *http.Request) (int, string) {
	v.t.Helper()
	res, err := v.Do(r)
	require.NoError(v.t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(v.t, err)
	require.NoError(v.t, res.Body.Close())
	return res.StatusCode, string(b)
}

// has fails, without printing the whole page, when it lacks a text.
func has(t *testing.T, body, want string, about ...any) {
	t.Helper()
	require.True(t, strings.Contains(body, want), append([]any{"no %q in a page of %d bytes", want, len(body)}, about...)[:3]...)
}

// post sends a form.
func (v visitor) post(path string, form url.Values, change func(*http.Request)) (int, string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.s.URL+path, strings.NewReader(form.Encode()))
	require.NoError(v.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if change != nil {
		change(r)
	}
	return v.do(r)
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func (v visitor) csrf() string {
	v.t.Helper()
	_, body := v.get("/runs/demo")
	m := csrfField.FindStringSubmatch(body)
	require.NotNil(v.t, m)
	return m[1]
}

func TestPagesSayWhatTheStoreHas(t *testing.T) {
	v := open(t, nil).visitor(t)
	for path, wants := range map[string][]string{
		"/":                              {"demo", "baseline", "hostile", "40 of 60", "3 of 3", "http://127.0.0.1:8233/namespaces/default/workflows/demo"},
		"/?q=base":                       {"baseline", "1 of 4 runs"},
		"/?q=none+of+them":               {"No run matches"},
		"/runs/demo":                     {"Accuracy at attempts: by attempt 1", "value=\"5e-07\"", "rollout 3/8", "data.problems_per_step", "k = 5", "differ from the preset quickstart"},
		"/runs/unlucky":                  {"loss is not a finite number", "No iteration is done yet"},
		"/runs/hostile":                  {"as far as the store knows"},
		"/runs/demo/dialogues?from=40":   {"48 of 48 dialogues", "step 40"},
		"/compare?run=demo":              {"arithmetic", "Accuracy by attempts"},
		"/compare?run=demo&run=baseline": {"Problems that flipped at k = ", "baseline − demo", "McNemar p"},
		"/compare?run=demo&run=hostile":  {"hostile has not been evaluated"},
		"/runs/demo/dialogues/38/5":      {"Attempt 1", "Gold answer", "&lt;|im_start|&gt;user"},
		"/runs/demo/evaluations/40/3/4?set=arithmetic": {"Evaluation after step 40", "problem 4"},
		"/problem?id=arithmetic-007&run=demo":          {"arithmetic-007", "dialogues correct"},
	} {
		status, body := v.get(path)
		require.Equal(t, http.StatusOK, status, path)
		for _, want := range wants {
			has(t, body, want, path)
		}
	}
}

func TestEveryAnswerIsLockedDown(t *testing.T) {
	s := open(t, nil)
	for _, path := range []string{"/", "/runs/demo", "/static/app.js", "/nowhere", "/runs/demo/series.json", "/runs/demo/dialogues/38/5/attempt/1"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
		require.NoError(t, err)
		res, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		policy := res.Header.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'", path)
		require.NotContains(t, policy, "unsafe", path)
		require.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"), path)
		if strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
			require.NotRegexp(t, `<script>|<script [^>]*[^>]*>[^<]| style="| on[a-z]+="`, string(body), "nothing stands inline: "+path)
		}
	}
}

func TestHostileTextIsEscaped(t *testing.T) {
	v := open(t, nil).visitor(t)
	for _, path := range []string{"/runs/hostile/dialogues?from=2&to=2&order=oldest", "/runs/hostile/dialogues/2/0", "/runs/hostile/dialogues/2/1", "/runs/hostile/dialogues/2/2",
		"/problem?run=hostile&id=" + url.QueryEscape(planted), "/runs/hostile/dialogues?q=" + url.QueryEscape(planted), "/runs/" + url.PathEscape(planted)} {
		_, body := v.get(path)
		require.NotContains(t, body, "<script>window", path)
		require.NotContains(t, body, "<img src=x", path)
		require.NotContains(t, body, "\x1b", path)
		require.NotContains(t, body, "\u009b", path)
		require.NotContains(t, body, "\u202e", path)
	}
	_, body := v.get("/runs/hostile/dialogues/2/3")
	require.Less(t, len(body), 1<<19, "a line of a megabyte is cut")
	status, whole := v.get("/runs/hostile/dialogues/2/3/attempt/1")
	require.Equal(t, http.StatusOK, status)
	require.Len(t, whole, 1<<20)
	status, raw := v.get("/runs/hostile/dialogues/2/1/attempt/1")
	require.Equal(t, http.StatusOK, status)
	require.NotContains(t, raw, "\x1b")
}

func TestBadRequestsAreAnsweredInWords(t *testing.T) {
	v := open(t, nil).visitor(t)
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/runs/nobody":                            {404, "Neither the store nor Temporal knows a run called"},
		"/runs/demos":                             {404, "Did you mean"},
		"/runs/..%2f..%2fsecrets":                 {404, "No such run"},
		"/nowhere":                                {404, "There is no such page"},
		"/runs/demo/dialogues?from=x":             {400, "from step"},
		"/runs/demo/dialogues?low=high":           {400, "reward from"},
		"/runs/demo/dialogues?outcome=great":      {400, "There is no outcome"},
		"/runs/demo/dialogues?after=x":            {400, "no place to go on at"},
		"/runs/demo/dialogues/999/0":              {404, "step 999"},
		"/runs/demo/dialogues/1/999":              {404, "has 48 dialogues"},
		"/runs/demo/dialogues/1/x":                {404, "no such dialogue"},
		"/runs/demo/evaluations/40/9/0?set=other": {404, "k = 9"},
		"/problem":                                {400, "names no problem"},
		"/compare?run=nobody":                     {200, "not found"},
	} {
		status, body := v.get(path)
		require.Equal(t, want.status, status, path)
		has(t, body, want.text, path)
	}
}

func TestDamagedRunsShowWhatIsThere(t *testing.T) {
	store := own(t)
	record := func(step int) (r activities.StepRecord) {
		r.Run, r.Step = "demo", step
		return r
	}
	put(t, store, activities.RecordKey("demo", 39), "half")
	put(t, store, activities.RecordKey("demo", 41), map[string]any{"version": 7, "run": "demo", "step": 41})
	put(t, store, activities.RecordKey("demo", 42), record(42)) // names no experience
	put(t, store, "runs/demo/checkpoints/000040/manifest.json", map[string]any{"version": 9, "run": "demo", "step": 40})
	put(t, store, "runs/demo/evaluations/000040/result-000000000000.json", map[string]any{"version": 3})
	v := open(t, func(o *web.Options) { o.Store = store }).visitor(t)
	status, body := v.get("/runs/demo")
	require.Equal(t, http.StatusOK, status)
	for _, want := range []string{"record 000039.json: half-written or damaged", "format version 7, this program reads 1", "version 9, this program knows 1", "format version 3, this program reads 2", "Accuracy at attempts"} {
		has(t, body, want)
	}
	status, body = v.get("/runs/demo/dialogues")
	require.Equal(t, http.StatusOK, status)
	has(t, body, "dialogues of step 42")
	has(t, body, "step 40", "the others are shown")
}

// gone is a store that does not answer.
type gone struct{ blob.Store }

var errGone = errors.New("connection refused: is the store running?")

func (gone) List(context.Context, string, func(blob.Info) error) error { return errGone }
func (gone) Get(context.Context, string) (io.ReadCloser, blob.Info, error) {
	return nil, blob.Info{}, errGone
}

func TestWithoutTheStoreTheServiceIsShown(t *testing.T) {
	v := open(t, func(o *web.Options) { o.Store = gone{blob.NewMemory()} }).visitor(t)
	for _, path := range []string{"/", "/runs/demo"} {
		status, body := v.get(path)
		require.Equal(t, http.StatusOK, status, path)
		has(t, body, "The store does not answer", path)
		has(t, body, "training", path)
	}
	status, body := v.get("/runs/hostile")
	require.Equal(t, http.StatusBadGateway, status)
	has(t, body, "connection refused")
}

func TestWithoutTheServiceTheStoreIsShown(t *testing.T) {
	s := open(t, nil)
	s.service.err = errors.New("temporal is away")
	v := s.visitor(t)
	status, body := v.get("/runs/demo")
	require.Equal(t, http.StatusOK, status)
	has(t, body, "Temporal does not answer")
	has(t, body, "Accuracy at attempts")

	v = open(t, func(o *web.Options) { o.Live = nil }).visitor(t)
	status, body = v.get("/runs/demo")
	require.Equal(t, http.StatusOK, status)
	require.NotContains(t, body, "Steering\"")
	require.NotContains(t, body, "does not answer")
}

func TestSteeringTakesATokenOfTheSamePage(t *testing.T) {
	s := open(t, nil)
	v := s.visitor(t)
	pause := url.Values{"action": {"pause"}}
	status, _ := v.post("/runs/demo/steer", pause, nil)
	require.Equal(t, http.StatusForbidden, status, "without a token")
	other := s.visitor(t)
	pause.Set("csrf", other.csrf())
	v.csrf()
	status, _ = v.post("/runs/demo/steer", pause, nil)
	require.Equal(t, http.StatusForbidden, status, "with another browser's token")
	pause.Set("csrf", v.csrf())
	status, _ = v.post("/runs/demo/steer", pause, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	require.Equal(t, http.StatusForbidden, status, "from another site")
	status, _ = v.post("/runs/demo/steer", pause, func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") })
	require.Equal(t, http.StatusForbidden, status, "from another origin")
	require.Empty(t, s.service.steered)

	status, body := v.post("/runs/demo/steer", pause, nil)
	require.Equal(t, http.StatusOK, status)
	has(t, body, "demo: pause is on its way")
	require.Len(t, s.service.steered, 1)
	_, body = v.get("/runs/demo")
	require.NotContains(t, body, "is on its way", "said once")

	pause.Set("action", "explode")
	status, body = v.post("/runs/demo/steer", pause, nil)
	require.Equal(t, http.StatusConflict, status)
	has(t, body, "cannot be asked to")
	pause.Set("action", "set_learning_rate")
	pause.Set("policy_lr", "2")
	status, body = v.post("/runs/demo/steer", pause, nil)
	require.Equal(t, http.StatusConflict, status)
	has(t, body, "from 0 to 1")
}

func TestATokenGuardsEverything(t *testing.T) {
	const token = "a token of enough characters"
	s := open(t, func(o *web.Options) { o.Token = token })
	v := s.visitor(t)
	status, body := v.get("/runs/demo?x=1")
	require.Equal(t, http.StatusOK, status)
	has(t, body, "Log in")
	for _, path := range []string{"/", "/runs/demo", "/runs/demo/series.json", "/events", "/runs/demo/dialogues/38/5/tokens.json"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
		require.NoError(t, err)
		status, body := v.do(r)
		require.Equal(t, http.StatusUnauthorized, status, path)
		require.NotContains(t, body, "reward", path)
	}
	next := regexp.MustCompile(`name="next" value="([^"]*)"`).FindStringSubmatch(body)[1]
	status, body = v.post("/login", url.Values{"token": {"not this"}, "next": {next}}, nil)
	require.Equal(t, http.StatusForbidden, status)
	has(t, body, "That is not the token")
	status, body = v.post("/login", url.Values{"token": {token}, "next": {next}}, nil)
	require.Equal(t, http.StatusOK, status)
	has(t, body, "Accuracy at attempts", "back where one came from")
	require.NotContains(t, body, token)
	u, err := url.Parse(s.URL)
	require.NoError(t, err)
	for _, c := range v.Jar.Cookies(u) {
		require.NotContains(t, c.Value, token)
	}

	forged := s.visitor(t)
	forged.Jar.SetCookies(u, []*http.Cookie{{Name: "multiattempt_session", Value: "9999999999-AAAA.AAAA"}})
	_, body = forged.get("/")
	has(t, body, "Log in")

	for text, want := range map[string]int{"Bearer " + token: 200, "Bearer no": 401, token: 401} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/runs/demo/series.json", nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", text)
		status, _ := s.visitor(t).do(r)
		require.Equal(t, want, status, text)
	}
	status, body = v.post("/logout", nil, nil)
	require.Equal(t, http.StatusOK, status)
	has(t, body, "Log in")
}

func TestLogInLeadsNowhereElse(t *testing.T) {
	const token = "a token of enough characters"
	s := open(t, func(o *web.Options) { o.Token = token })
	for _, next := range []string{"aHR0cDovL2V2aWwuZXhhbXBsZQ", "Ly9ldmlsLmV4YW1wbGU", "L1xldmlsLmV4YW1wbGU", "%%%"} {
		v := s.visitor(t)
		v.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/login", strings.NewReader(url.Values{"token": {token}, "next": {next}}.Encode()))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := v.Do(r)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, "/", res.Header.Get("Location"), next)
		c := res.Cookies()[0]
		require.True(t, c.HttpOnly)
		require.Equal(t, http.SameSiteStrictMode, c.SameSite)
	}
}

func TestOnlyThisMachineWithoutAToken(t *testing.T) {
	s := open(t, nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/", nil)
	require.NoError(t, err)
	r.Host = "rebound.example"
	status, _ := s.visitor(t).do(r)
	require.Equal(t, http.StatusMisdirectedRequest, status)

	store := blob.NewMemory()
	server, err := web.New(t.Context(), web.Options{Store: store, CacheDir: t.TempDir()})
	require.NoError(t, err)
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "nonsense"} {
		_, err = server.Listen(t.Context(), address)
		require.ErrorIs(t, err, web.ErrAddress, address)
	}
	l, err := server.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = web.New(t.Context(), web.Options{Store: store, CacheDir: t.TempDir(), Token: "short"})
	require.ErrorIs(t, err, web.ErrToken)
}

func TestEventsSayThatSomethingChanged(t *testing.T) {
	store := own(t)
	s := open(t, func(o *web.Options) { o.Store = store })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/events?run=demo", nil)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer res.Body.Close() //nolint:errcheck // of a stream that is left
	require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	lines := bufio.NewScanner(res.Body)
	require.True(t, lines.Scan())
	require.Equal(t, "retry: 3000", lines.Text())
	add(t, store, 41)
	for lines.Scan() {
		if lines.Text() == "event: changed" {
			return
		}
	}
	t.Fatal("the stream ended")
}

func TestSeries(t *testing.T) {
	v := open(t, nil).visitor(t)
	_, whole := v.get("/runs/demo/series.json")
	require.Contains(t, whole, `"id":"mismatch"`)
	require.Contains(t, whole, `"warn":0.01`)
	_, rest := v.get("/runs/demo/series.json?after=38")
	require.Contains(t, rest, `"steps":[39,40]`)
}
