package worker

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"

	"multiattempt/config"
)

func newKey(t *testing.T) string {
	t.Helper()
	key := make([]byte, 32)
	_, err := rand.Read(key)
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(key)
}

func keyFile(t *testing.T, lines ...string) config.Codec {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return config.Codec{KeyFile: file}
}

func TestPayloadsAreEncryptedAndKeysRotate(t *testing.T) {
	first, second := newKey(t), newKey(t)
	before, err := DataConverter(config.Codec{Key: config.Secret(first)})
	require.NoError(t, err)
	after, err := DataConverter(keyFile(t, "# newest first", second, first))
	require.NoError(t, err)
	plain := converter.GetDefaultDataConverter()

	old, err := before.ToPayload("what the model said")
	require.NoError(t, err)
	require.NotContains(t, old.String(), "what the model said")
	twice, err := before.ToPayload("what the model said")
	require.NoError(t, err)
	require.NotEqual(t, old.GetData(), twice.GetData(), "equal texts do not look equal")

	var got string
	require.NoError(t, after.FromPayload(old, &got), "a key that was replaced still decrypts")
	require.Equal(t, "what the model said", got)
	fresh, err := after.ToPayload("x")
	require.NoError(t, err)
	require.ErrorIs(t, before.FromPayload(fresh, &got), ErrCodecKey, "a process without the new key says so")
	require.Error(t, plain.FromPayload(fresh, &got))

	unencrypted, err := plain.ToPayload("began before")
	require.NoError(t, err)
	require.NoError(t, after.FromPayload(unencrypted, &got), "a history that began plain goes on")
	require.Equal(t, "began before", got)

	changed := &commonpb.Payload{Metadata: old.GetMetadata(), Data: bytes.Clone(old.GetData())}
	changed.Data[len(changed.Data)-1]++
	require.ErrorIs(t, after.FromPayload(changed, &got), ErrCodecKey)
}

func TestKeysThatAreNone(t *testing.T) {
	for name, c := range map[string]config.Codec{
		"short":    {Key: "c2hvcnQ="},
		"no text":  {Key: "not base64!"},
		"no key":   keyFile(t, "# only a comment"),
		"no file":  {KeyFile: filepath.Join(t.TempDir(), "none")},
		"half bad": keyFile(t, newKey(t), "x"),
	} {
		_, err := DataConverter(c)
		require.ErrorIs(t, err, ErrCodecKey, name)
	}
	_, err := DataConverter(config.Codec{})
	require.NoError(t, err, "no key: plain")
}

func TestTheCodecServerServesPagesOfTheNamedUIOnly(t *testing.T) {
	c := config.Codec{Key: config.Secret(newKey(t))}
	handler, err := CodecHandler(c, "http://127.0.0.1:8233")
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	defer server.Close()
	local, err := DataConverter(c)
	require.NoError(t, err)

	remote := converter.NewRemotePayloadCodec(converter.RemotePayloadCodecOptions{Endpoint: server.URL})
	sealed, err := local.ToPayload("secret")
	require.NoError(t, err)
	opened, err := remote.Decode([]*commonpb.Payload{sealed})
	require.NoError(t, err)
	require.Equal(t, `"secret"`, string(opened[0].GetData()))

	ask := func(method, origin string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/decode", strings.NewReader(`{"payloads":[]}`))
		require.NoError(t, err)
		r.Header.Set("Origin", origin)
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		return answer
	}
	preflight := ask(http.MethodOptions, "http://127.0.0.1:8233")
	require.Equal(t, http.StatusNoContent, preflight.StatusCode)
	require.Equal(t, "http://127.0.0.1:8233", preflight.Header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, http.StatusOK, ask(http.MethodPost, "http://127.0.0.1:8233").StatusCode)
	require.Equal(t, http.StatusForbidden, ask(http.MethodPost, "http://evil.example").StatusCode)
}
