// Validate holds an Envoy configuration against Envoy's published schema, as far
// as that goes without Envoy: names, types and the rules of each field. It is a
// module of its own, so that tokend does not depend on it.
//
//	validate FILE
package main

import (
	"fmt"
	"os"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	manager "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := validate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func validate(path string) error {
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	json, err := yaml.YAMLToJSONStrict(file)
	if err != nil {
		return err
	}
	var config bootstrap.Bootstrap
	if err := protojson.Unmarshal(json, &config); err != nil {
		return err
	}
	if err := config.ValidateAll(); err != nil {
		return err
	}
	// What is in typed_config is not looked at by the above.
	for _, listener := range config.GetStaticResources().GetListeners() {
		for _, chain := range listener.GetFilterChains() {
			for _, filter := range chain.GetFilters() {
				if err := validateManager(filter.GetTypedConfig()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// validateManager looks at a connection manager and its filters.
func validateManager(packed *anypb.Any) error {
	var m manager.HttpConnectionManager
	if err := packed.UnmarshalTo(&m); err != nil {
		return err
	}
	if err := m.ValidateAll(); err != nil {
		return err
	}
	for _, filter := range m.GetHttpFilters() {
		unpacked, err := filter.GetTypedConfig().UnmarshalNew()
		if err != nil {
			return err
		}
		if checked, ok := unpacked.(interface{ ValidateAll() error }); ok {
			if err := checked.ValidateAll(); err != nil {
				return err
			}
		}
	}
	return nil
}
