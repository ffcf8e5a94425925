package main

import v1 "github.com/google/go-containerregistry/pkg/v1"

// recipe says what an image is made of: perhaps Debian's minbase, then one layer for each set of packages, then
// one layer of files.
type recipe struct {
	Name     string
	Small    bool       // is part of `make test`
	Minbase  bool       // the first layer is Debian's minbase; else it is busybox
	Packages [][]string // each set is installed on minbase and becomes a layer
	Files    map[string]string
	Many     int `json:",omitempty"` // files of 2 KB, beside Files
	Config   v1.Config
}

const nginxConf = `
user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr info;
events { worker_connections 64; }
http {
	access_log /dev/stdout;
	server {
		listen 80;
		root /var/www/html;
	}
}
`

const postgresEntry = `#!/bin/sh
# Makes the cluster on the first start, then becomes the server.
set -eu
PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
[ -s "$PGDATA/PG_VERSION" ] || initdb -D "$PGDATA" --auth=trust --no-sync >/dev/null
exec postgres -D "$PGDATA" -c listen_addresses=0.0.0.0 "$@"
`

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

var recipes = []recipe{
	{Name: "busybox", Small: true, Config: v1.Config{Env: []string{"PATH=/bin"}, Cmd: []string{"sh"}}},
	{Name: "minbase", Small: true, Minbase: true, Config: v1.Config{Env: []string{path}, Cmd: []string{"bash"}}},
	{
		Name: "nginx", Small: true, Minbase: true, Packages: [][]string{{"nginx-light"}},
		Files: map[string]string{
			"etc/nginx/nginx.conf": nginxConf, "var/www/html/index.html": "nginx in a pod\n",
		},
		Config: v1.Config{
			Env: []string{path}, Cmd: []string{"nginx", "-g", "daemon off;"}, StopSignal: "SIGQUIT",
			ExposedPorts: map[string]struct{}{"80/tcp": {}},
		},
	},
	{
		Name: "redis", Small: true, Minbase: true, Packages: [][]string{{"redis-server"}},
		Files: map[string]string{"etc/redis/redis.conf": "dir /var/lib/redis\nsave \"\"\nprotected-mode no\n"},
		Config: v1.Config{
			Env: []string{path}, User: "redis", WorkingDir: "/var/lib/redis",
			Entrypoint: []string{"redis-server"}, Cmd: []string{"/etc/redis/redis.conf"},
			ExposedPorts: map[string]struct{}{"6379/tcp": {}},
		},
	},
	{
		Name: "python", Minbase: true, Packages: [][]string{{"python3"}},
		Files:  map[string]string{"srv/app.py": "print('python in a pod')\n"},
		Config: v1.Config{Env: []string{path}, Cmd: []string{"python3", "/srv/app.py"}},
	},
	{
		Name: "postgres", Minbase: true, Packages: [][]string{{"postgresql"}},
		Files: map[string]string{"usr/local/bin/entry": postgresEntry},
		Config: v1.Config{
			Env: []string{path, "PGDATA=/var/lib/postgresql/data"}, User: "postgres",
			Entrypoint: []string{"entry"}, StopSignal: "SIGINT",
			ExposedPorts: map[string]struct{}{"5432/tcp": {}},
		},
	},
	// What follows is fetched, and nobody runs it: ten layers, nine of these and another tenth, and files without number.
	{Name: "large", Minbase: true, Packages: largePackages, Files: map[string]string{"etc/large": "ten layers\n"}, Config: bash},
	{Name: "large2", Minbase: true, Packages: largePackages, Files: map[string]string{"etc/large": "the second\n"}, Many: 4000, Config: bash},
	{Name: "files1k", Files: map[string]string{"etc/files": "1k\n"}, Many: 1000, Config: bash},
	{Name: "files8k", Files: map[string]string{"etc/files": "8k\n"}, Many: 8000, Config: bash},
	{Name: "files25k", Files: map[string]string{"etc/files": "25k\n"}, Many: 25000, Config: bash},
}

var bash = v1.Config{Env: []string{path}, Cmd: []string{"bash"}}

var largePackages = [][]string{
	{"nginx-light"}, {"redis-server"}, {"python3"}, {"postgresql"}, {"git"}, {"ruby"}, {"gawk"}, {"default-jre-headless"},
}
