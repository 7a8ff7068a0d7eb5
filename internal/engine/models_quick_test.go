//go:build !full

package engine_test

const everyModelCompiled = false
