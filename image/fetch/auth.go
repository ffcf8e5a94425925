package fetch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
)

// credentials for an endpoint: those of auth.d, else of the files that docker and podman keep; anonymous where none
// knows the registry. Only endpoints that the user or the configuration named are ever looked up.
func (c *Client) credentials(e endpoint) (authn.Authenticator, error) {
	if auth, err := configuredAuth(c.ConfigDirs, e); err != nil || auth != nil {
		return auth, err
	}
	for _, path := range authFiles() {
		auth, err := readAuthFile(path, e)
		if err != nil || auth != nil {
			return auth, err
		}
	}
	return authn.Anonymous, nil
}

// authConfig is a file of auth.d: gantry's own kind, or one of rkt's two.
type authConfig struct {
	configHeader
	RktKind     string          `json:"rktKind"`
	RktVersion  string          `json:"rktVersion"`
	Domains     []string        `json:"domains"`
	Registries  []string        `json:"registries"` // rkt's dockerAuth
	Type        string          `json:"type"`
	Credentials json.RawMessage `json:"credentials"`
}

func (f authConfig) check() error {
	switch {
	case f.RktKind == "" && f.RktVersion == "":
		return f.configHeader.check("auth")
	case f.Kind == "" && f.Version == "" && (f.RktKind == "auth" || f.RktKind == "dockerAuth") && f.RktVersion == "v1":
		return nil
	}
	return errors.New(`want "kind": "auth", "version": "v1", or rkt's "rktKind": "auth" or "dockerAuth"`)
}

// configuredAuth looks an endpoint up in auth.d. Of several files that name its host the last decides.
func configuredAuth(dirs []string, e endpoint) (auth authn.Authenticator, err error) {
	err = eachConfig(dirs, "auth.d", func(_ string, data []byte) error {
		var file authConfig
		if err := decodeStrict(data, &file); err != nil {
			return err
		}
		if err := file.check(); err != nil {
			return err
		}
		made, err := file.authenticator()
		if err == nil && (slices.Contains(file.Domains, e.host) || slices.Contains(file.Registries, e.host)) {
			auth = made
		}
		return err
	})
	return auth, err
}

func (f authConfig) authenticator() (authn.Authenticator, error) {
	var secret struct {
		User     string `json:"user"`
		Password string `json:"password"`
		Token    string `json:"token"`
	}
	if err := decodeStrict(f.Credentials, &secret); err != nil {
		return nil, errors.New("credentials: want user and password, or token") // and no word of what is there
	}
	switch {
	case (f.Type == "basic" || f.RktKind == "dockerAuth") && secret.User != "":
		return authn.FromConfig(authn.AuthConfig{Username: secret.User, Password: secret.Password}), nil
	case (f.Type == "bearer" || f.Type == "oauth") && secret.Token != "":
		return authn.FromConfig(authn.AuthConfig{RegistryToken: secret.Token}), nil
	case f.Type == "helper":
		return nil, fmt.Errorf("%w: credential helpers", ErrUnsupported)
	}
	return nil, fmt.Errorf("type %q: want basic with user and password, or bearer with token", f.Type)
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
