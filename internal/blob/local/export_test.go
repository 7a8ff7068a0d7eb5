package local

// Fast leaves flushing to the system.
func (s *Store) Fast() *Store {
	s.fast = true
	return s
}
