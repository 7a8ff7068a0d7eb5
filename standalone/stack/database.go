package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"
	"go.temporal.io/server/common/config"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/schema/sqlite"
	"google.golang.org/protobuf/types/known/durationpb"
)

// schemaStamp names what a database file was laid out for. The SQLite store has no migrations, and the schema of its
// visibility part carries no version of its own, so the server's release belongs to the stamp.
func schemaStamp() string {
	return fmt.Sprintf("sqlite %s, visibility %s, server 1.32\n", sqlite.Version, sqlite.VisibilityVersion)
}

// openDatabase returns how to reach the database in dir, and lays it out at the first start.
//
// Laying out is no transaction and may be killed: the file is built aside, then the stamp is written, then the file gets
// its name.
func openDatabase(dir, namespace string) (*config.SQL, error) {
	path, stamp := filepath.Join(dir, "temporal.db"), filepath.Join(dir, "schema")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := buildDatabase(path+".new", namespace); err != nil {
			return nil, fmt.Errorf("temporal database: %w", err)
		}
		if err := renameio.WriteFile(stamp, []byte(schemaStamp()), 0o600); err != nil {
			return nil, err
		}
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return nil, err
	}
	got, err := os.ReadFile(stamp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if string(got) != schemaStamp() {
		return nil, fmt.Errorf("%w: %s was made for %q, this program needs %q: move the folder %s away to start with an empty one; checkpoints are not in it and stay",
			ErrForeignData, path, got, schemaStamp(), dir)
	}
	return sqlConfig(path, map[string]string{"journal_mode": "wal", "synchronous": "normal", "busy_timeout": "10000"}), nil
}

// buildDatabase lays a new file out, in one piece: without a write-ahead log beside it.
func buildDatabase(path, namespace string) error {
	for _, left := range []string{path, path + "-journal"} {
		if err := os.Remove(left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	conf := sqlConfig(path, map[string]string{"synchronous": "full"})
	if err := sqlite.SetupSchema(conf); err != nil {
		return err
	}
	ns, err := sqlite.NewNamespaceConfig(clusterName, namespace, false, nil)
	if err != nil {
		return err
	}
	ns.Detail.Config.Retention = durationpb.New(retention)
	return sqlite.CreateNamespaces(conf, ns)
}

// sqlConfig keeps the plugin's single connection: more of them only collide (SQLITE_BUSY). Any key of pragmas that is no
// URI parameter of SQLite becomes a PRAGMA.
func sqlConfig(path string, pragmas map[string]string) *config.SQL {
	pragmas["mode"] = "rwc"
	return &config.SQL{PluginName: sqliteplugin.PluginName, DatabaseName: path, ConnectAttributes: pragmas}
}

// clusterID returns the server's identity, which must not change during the life of its database.
func clusterID(dir string) (string, error) {
	path := filepath.Join(dir, "cluster-id")
	b, err := os.ReadFile(path)
	if err == nil {
		return string(b), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	id := uuid.NewString()
	return id, renameio.WriteFile(path, []byte(id), 0o600)
}
