"""What holds for all tests: as many files may be open as for a daemon."""

import resource

_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _most))
