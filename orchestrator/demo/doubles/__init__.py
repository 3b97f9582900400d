"""Stand-ins for other people's servers, as real HTTP servers: for the demo and for the tests of the adapters."""
