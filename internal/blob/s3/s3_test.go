package s3_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/s3"
)

// serve answers the listing that Open asks for with nothing, and every other request with handle.
func serve(t *testing.T, handle http.HandlerFunc) s3.Options {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("list-type") {
			fmt.Fprint(w, `<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>`)
			return
		}
		handle(w, r)
	}))
	t.Cleanup(server.Close)
	return s3.Options{Endpoint: strings.TrimPrefix(server.URL, "http://"), Bucket: "bucket", AccessKey: "k", SecretKey: "s", MaxRetries: 1}
}

func refuse(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `<Error><Code>%s</Code><Message>as told</Message></Error>`, code)
	}
}

// TestErrorsSayWhatToDo maps the error codes of Amazon S3, MinIO and versitygw to causes.
func TestErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error
	}{
		{404, "NoSuchKey", blob.ErrNotFound},
		{404, "NoSuchBucket", s3.ErrNoBucket},
		{403, "InvalidAccessKeyId", s3.ErrCredentials},
		{403, "SignatureDoesNotMatch", s3.ErrCredentials},
		{404, "XAdminUserNotFound", s3.ErrCredentials},
		{403, "AccessDenied", s3.ErrDenied},
		{403, "RequestTimeTooSkewed", s3.ErrClockSkew},
		{403, "QuotaExceeded", s3.ErrFull},
		{507, "XMinioStorageFull", s3.ErrFull},
		{507, "InsufficientStorage", s3.ErrFull},
	} {
		t.Run(c.code, func(t *testing.T) {
			s, err := s3.Open(t.Context(), serve(t, refuse(c.status, c.code)))
			require.NoError(t, err)
			_, _, err = s.Get(t.Context(), "some/key")
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, "/bucket/some/key")
			require.ErrorContains(t, err, c.code)
		})
	}
}

func TestAnUnknownAnswerIsPassedOn(t *testing.T) {
	s, err := s3.Open(t.Context(), serve(t, refuse(400, "SomethingNew")))
	require.NoError(t, err)
	_, _, err = s.Get(t.Context(), "key")
	require.ErrorContains(t, err, "400 SomethingNew: as told")
}

func TestRefusedConditions(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		code   string
		opts   blob.PutOptions
		want   error
	}{
		{"create, taken", 412, "PreconditionFailed", blob.PutOptions{IfAbsent: true}, blob.ErrExists},
		{"create, racing", 409, "ConditionalRequestConflict", blob.PutOptions{IfAbsent: true}, blob.ErrExists},
		{"replace, changed", 412, "PreconditionFailed", blob.PutOptions{IfMatch: "e"}, blob.ErrConflict},
		{"replace, gone", 404, "NoSuchKey", blob.PutOptions{IfMatch: "e"}, blob.ErrConflict},
		{"replace, no bucket", 404, "NoSuchBucket", blob.PutOptions{IfMatch: "e"}, s3.ErrNoBucket},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := s3.Open(t.Context(), serve(t, refuse(c.status, c.code)))
			require.NoError(t, err)
			_, err = s.Put(t.Context(), "key", strings.NewReader("x"), 1, c.opts)
			require.ErrorIs(t, err, c.want)
		})
	}
}

// TestTheServersChecksumOfOthersObjects: a digest is what our metadata say, or else the server's SHA-256 of the whole object.
func TestTheServersChecksumOfOthersObjects(t *testing.T) {
	body, other := blob.Sum([]byte("body")), blob.Sum([]byte("other"))
	encoded := base64.StdEncoding.EncodeToString(body[:])
	for name, c := range map[string]struct {
		headers map[string]string
		want    blob.Digest
	}{
		"none":      {nil, blob.Digest{}},
		"whole":     {map[string]string{"X-Amz-Checksum-Sha256": encoded, "X-Amz-Checksum-Type": "FULL_OBJECT"}, body},
		"unnamed":   {map[string]string{"X-Amz-Checksum-Sha256": encoded}, body},
		"parts":     {map[string]string{"X-Amz-Checksum-Sha256": encoded + "-3"}, blob.Digest{}},
		"composite": {map[string]string{"X-Amz-Checksum-Sha256": encoded, "X-Amz-Checksum-Type": "COMPOSITE"}, blob.Digest{}},
		"ours":      {map[string]string{"X-Amz-Checksum-Sha256": encoded, "X-Amz-Meta-Sha256": other.String()}, other},
	} {
		s, err := s3.Open(t.Context(), serve(t, func(w http.ResponseWriter, r *http.Request) {
			require.Equal(t, "ENABLED", r.Header.Get("X-Amz-Checksum-Mode"))
			w.Header().Set("ETag", `"e"`)
			w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
			for k, v := range c.headers {
				w.Header().Set(k, v)
			}
		}))
		require.NoError(t, err)
		info, err := s.Stat(t.Context(), "key")
		require.NoError(t, err)
		require.Equal(t, c.want, info.SHA256, name)
	}
}

func TestNobodyAnswers(t *testing.T) {
	o := serve(t, nil)
	o.Endpoint = "127.0.0.1:1"
	_, err := s3.Open(t.Context(), o)
	require.ErrorIs(t, err, s3.ErrUnreachable)
	require.ErrorContains(t, err, "127.0.0.1:1/bucket")
}

// lostAnswer performs the first PUT and then pretends that the connection broke.
type lostAnswer struct{ lost bool }

func (l *lostAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && r.Method == http.MethodPut && !l.lost {
		l.lost = true
		return nil, errors.Join(errors.New("connection reset by peer"), resp.Body.Close())
	}
	return resp, err
}

// TestARepeatedCreateFindsItsOwnObject repeats a conditional create whose first answer was lost: the object that then
// stands in the way is the caller's own, told by its write id.
func TestARepeatedCreateFindsItsOwnObject(t *testing.T) {
	var stored http.Header
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut && stored == nil:
			stored = r.Header.Clone()
		case r.Method == http.MethodPut:
			refuse(412, "PreconditionFailed")(w, r)
		case r.Method == http.MethodHead:
			w.Header().Set("ETag", `"e"`)
			w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
			for _, k := range []string{"X-Amz-Meta-Write-Id", "X-Amz-Meta-Sha256"} {
				w.Header().Set(k, stored.Get(k))
			}
		}
	})
	o.Transport, o.MaxRetries = &lostAnswer{}, 3
	s, err := s3.Open(t.Context(), o)
	require.NoError(t, err)
	info, err := s.Put(t.Context(), "key", strings.NewReader("mine"), 4, blob.PutOptions{IfAbsent: true})
	require.NoError(t, err)
	require.Equal(t, blob.Sum([]byte("mine")), info.SHA256)
	_, err = s.Put(t.Context(), "key", strings.NewReader("mine"), 4, blob.PutOptions{IfAbsent: true})
	require.ErrorIs(t, err, blob.ErrExists, "the next call is another writer")
}
