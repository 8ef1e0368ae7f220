package api_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"tokend/api"
)

// Each answer in the other tests is held against the document too (ask).
func TestOpenAPI(t *testing.T) {
	document, err := openapi3.NewLoader().LoadFromData([]byte(api.Document))
	do(t, err)
	t.Run("is valid", func(t *testing.T) {
		if err := document.Validate(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Run("has the routes and no others", func(t *testing.T) {
		var described, served []string
		for path, item := range document.Paths.Map() {
			for method := range item.Operations() {
				described = append(described, method+" "+path)
			}
		}
		for _, key := range api.RouteKeys() {
			served = append(served, key[0]+" "+key[1])
		}
		slices.Sort(described)
		slices.Sort(served)
		if diff := cmp.Diff(served, described); diff != "" {
			t.Errorf("served (-), described (+):\n%s", diff)
		}
	})
	t.Run("has the codes and no others", func(t *testing.T) {
		var described []string
		for _, code := range document.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum {
			described = append(described, code.(string))
		}
		codes := api.Codes()
		slices.Sort(codes)
		if diff := cmp.Diff(slices.Compact(codes), described); diff != "" {
			t.Errorf("answered (-), described (+):\n%s", diff)
		}
	})
	t.Run("is served as it is", func(t *testing.T) {
		s := newServer(t)
		a := s.ask("GET", "/openapi.yaml", "")
		if a.status != 200 || a.body != api.Document || !strings.HasPrefix(a.header.Get("Content-Type"), "application/yaml") {
			t.Errorf("%d %v", a.status, a.header)
		}
	})
}
