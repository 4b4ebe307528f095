//! Every option of uWSGI by name, and what Empery does about it.
