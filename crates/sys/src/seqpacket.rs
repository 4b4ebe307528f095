//! Messages with descriptors over `SOCK_SEQPACKET` unix sockets (unix(7), SCM_RIGHTS).
