package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
)

// credentials for an endpoint: those of auth.d, else of the files that docker and podman keep; anonymous where none
// knows the registry. Only endpoints that the user or the configuration named are ever looked up.
func (c *Client) credentials(ctx context.Context, e endpoint) (authn.Authenticator, error) {
	login, err := configuredAuth(c.ConfigDirs, e)
	if err != nil {
		return nil, err
	}
	if login != nil {
		return login.authenticator(ctx, e)
	}
	for _, path := range authFiles() {
		login, err := readAuthFile(path, e)
		if err != nil {
			return nil, err
		}
		if login == nil {
			continue
		}
		auth, err := login.authenticator(ctx, e)
		if !errors.Is(err, errNoCredentials) {
			return auth, err
		}
	}
	return authn.Anonymous, nil
}

// login is what a file says of one registry: credentials, or the helper that has them.
type login struct {
	config authn.AuthConfig
	helper string
	// anyHost: the helper is asked about every registry, and may be there for other programs only.
	anyHost bool
}

// authenticator of a login. errNoCredentials where a helper knows none.
func (l *login) authenticator(ctx context.Context, e endpoint) (authn.Authenticator, error) {
	if l.helper == "" {
		return authn.FromConfig(l.config), nil
	}
	config, err := askHelper(ctx, l.helper, e)
	switch {
	case err == nil:
		return authn.FromConfig(config), nil
	case l.anyHost && errors.Is(err, exec.ErrNotFound):
		return nil, errNoCredentials
	}
	return nil, err
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
func configuredAuth(dirs []string, e endpoint) (found *login, err error) {
	err = eachConfig(dirs, "auth.d", func(_ string, data []byte) error {
		var file authConfig
		if err := decodeStrict(data, &file); err != nil {
			return err
		}
		if err := file.check(); err != nil {
			return err
		}
		made, err := file.login()
		if err == nil && (slices.Contains(file.Domains, e.host) || slices.Contains(file.Registries, e.host)) {
			found = made
		}
		return err
	})
	return found, err
}

func (f authConfig) login() (*login, error) {
	var secret struct {
		User     string `json:"user"`
		Password string `json:"password"`
		Token    string `json:"token"`
		Helper   string `json:"helper"`
	}
	if err := decodeStrict(f.Credentials, &secret); err != nil {
		return nil, errors.New("credentials: want user and password, token, or helper") // and no word of what is there
	}
	switch {
	case (f.Type == "basic" || f.RktKind == "dockerAuth") && secret.User != "":
		return &login{config: authn.AuthConfig{Username: secret.User, Password: secret.Password}}, nil
	case (f.Type == "bearer" || f.Type == "oauth") && secret.Token != "":
		return &login{config: authn.AuthConfig{RegistryToken: secret.Token}}, nil
	case f.Type == "helper" && secret.Helper != "":
		return &login{helper: secret.Helper}, nil
	}
	return nil, fmt.Errorf("type %q: want basic with user and password, bearer with token, or helper with helper", f.Type)
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

// readAuthFile looks an endpoint up: a helper for its host, then credentials, those for the longest path of the
// repository first, then the helper for all hosts.
func readAuthFile(path string, e endpoint) (*login, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	// Foreign files: fields that we do not know are other programs' business.
	var file struct {
		Auths       map[string]authn.AuthConfig `json:"auths"`
		CredHelpers map[string]string           `json:"credHelpers"`
		CredsStore  string                      `json:"credsStore"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("read credentials: %s: %w", path, err)
	}
	for _, key := range []string{e.host, serverOf(e)} {
		if helper := file.CredHelpers[key]; helper != "" {
			return &login{helper: helper}, nil
		}
	}
	keys := pathPrefixes(e.host + "/" + e.repository)
	if e.host == "docker.io" {
		keys = append(keys, dockerHubKey)
	}
	keys = append(keys, "https://"+e.host, "http://"+e.host)
	for _, key := range keys {
		if config, ok := file.Auths[key]; ok && config != (authn.AuthConfig{}) {
			return &login{config: config}, nil
		}
	}
	if file.CredsStore != "" {
		return &login{helper: file.CredsStore, anyHost: true}, nil
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
