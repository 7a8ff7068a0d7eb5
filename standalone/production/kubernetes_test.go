package production_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestKubernetesTakesTheExample decodes deploy/kubernetes/worker.yaml into Kubernetes' own types: an unknown or misplaced field,
// or a value of another type, is an error, as it is with kubectl's server-side validation.
func TestKubernetesTakesTheExample(t *testing.T) {
	text, err := os.ReadFile("../../deploy/kubernetes/worker.yaml")
	require.NoError(t, err)
	kinds := map[string]int{}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var head struct{ Kind, APIVersion string }
		require.NoError(t, yaml.Unmarshal([]byte(document), &head))
		kinds[head.APIVersion+" "+head.Kind]++
		switch head.Kind {
		case "ConfigMap":
			strict[corev1.ConfigMap](t, document)
		case "Service":
			strict[corev1.Service](t, document)
		case "Deployment":
			d := strict[appsv1.Deployment](t, document)
			requirePod(t, d.Spec.Selector.MatchLabels, d.Spec.Template)
		case "StatefulSet":
			s := strict[appsv1.StatefulSet](t, document)
			requirePod(t, s.Spec.Selector.MatchLabels, s.Spec.Template, s.Spec.VolumeClaimTemplates...)
		default:
			require.Fail(t, "a kind that this test does not know", head.Kind)
		}
	}
	require.Equal(t, map[string]int{"v1 ConfigMap": 1, "v1 Service": 1, "apps/v1 Deployment": 1, "apps/v1 StatefulSet": 1}, kinds)
}

func strict[T any](t *testing.T, document string) (v T) {
	t.Helper()
	require.NoError(t, yaml.UnmarshalStrict([]byte(document), &v))
	return v
}

// requirePod checks what types alone do not say: the selector finds the pods, and every mount has a volume.
func requirePod(t *testing.T, selector map[string]string, pod corev1.PodTemplateSpec, claims ...corev1.PersistentVolumeClaim) {
	t.Helper()
	require.Subset(t, pod.Labels, selector)
	volumes := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, c := range claims {
		volumes[c.Name] = true
	}
	for _, c := range pod.Spec.Containers {
		require.NotEmpty(t, c.Image)
		for _, m := range c.VolumeMounts {
			require.True(t, volumes[m.Name], "%s mounts %s", c.Name, m.Name)
		}
	}
}
