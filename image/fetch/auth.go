package fetch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
)

// credentials for an endpoint: those of auth.d, else of the files that docker and podman keep; anonymous where none
// knows the registry. Only endpoints that the user or the configuration named are ever looked up.
func (c *Client) credentials(e endpoint) (authn.Authenticator, error) {
	for _, path := range authFiles() {
		auth, err := readAuthFile(path, e)
		if err != nil || auth != nil {
			return auth, err
		}
	}
	return authn.Anonymous, nil
}

// authFiles in the order of containers-auth.json(5), then docker's.
func authFiles() []string {
	if path := os.Getenv("REGISTRY_AUTH_FILE"); path != "" {
		return []string{path}
	}
	var files []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		files = append(files, filepath.Join(dir, "containers", "auth.json"))
	}
	files = append(files, fmt.Sprintf("/run/containers/%d/auth.json", os.Getuid()))
	if dir, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(dir, "containers", "auth.json"))
	}
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		files = append(files, filepath.Join(dir, "config.json"))
	} else if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, ".docker", "config.json"))
	}
	return files
}

// dockerHubKey is what docker calls its own registry in these files.
const dockerHubKey = "https://index.docker.io/v1/"

// readAuthFile looks an endpoint up: the longest path of the repository first, then the host alone.
func readAuthFile(path string, e endpoint) (authn.Authenticator, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	// Foreign files: fields that we do not know are other programs' business.
	var file struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("read credentials: %s: %w", path, err)
	}
	keys := pathPrefixes(e.host + "/" + e.repository)
	if e.host == "docker.io" {
		keys = append(keys, dockerHubKey)
	}
	keys = append(keys, "https://"+e.host, "http://"+e.host)
	for _, key := range keys {
		if config, ok := file.Auths[key]; ok && config != (authn.AuthConfig{}) {
			return authn.FromConfig(config), nil
		}
	}
	return nil, nil
}

// pathPrefixes of a/b/c: itself, a/b, a.
func pathPrefixes(path string) []string {
	prefixes := []string{path}
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '/' {
			prefixes = append(prefixes, path[:i])
		}
	}
	return prefixes
}
