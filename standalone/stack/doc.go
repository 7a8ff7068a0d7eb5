// Package stack runs the services that training needs inside this process: a Temporal server on SQLite, its Web UI and
// an S3 store on a directory, all on loopback and without a network.
//
// Everything lies below one data directory:
//
//	lock                 flock of the process that runs the stack, and its process id
//	credentials.json     keys of the S3 store, generated at first start, mode 0600
//	temporal/            temporal.db and its schema stamp: workflow histories
//	objects/             versitygw's folder: a file for each object, metadata in extended attributes
//
// Killing the process at any moment loses nothing that was acknowledged. After a power loss objects that were
// acknowledged are there, too (they are synced to disk); the database is intact but may have forgotten its last moments.
package stack
