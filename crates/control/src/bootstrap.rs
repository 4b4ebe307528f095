//! The first Python statements of a zygote: `PYTHON -c BOOTSTRAP EXTENSION CHANNEL_FD`.
//!
//! They run in whatever interpreter the vassal file names, so they are understood by every Python since 2.7: one that
//! cannot load the extension answers with a [`crate::worker::FromZygote::LoadFailed`] of its own making instead of a loader's riddle.
//! The master passes this text on; nothing else may run before the extension takes over.

/// The program text.
///
/// Arguments: the extension, the number of the inherited channel descriptor, and, when a zygote starts itself
/// over, the number of a descriptor that says how.
///
/// The extension is a file, or a path without its suffix: then the interpreter's own list of suffixes says which file it is, as
/// for any import (`_imp.extension_suffixes()`: `.cpython-311-x86_64-linux-gnu.so` before `.abi3.so`). A build for
/// this very version therefore goes before the one for all, and a build for another version is never looked at. One that does
/// not load (built for another C library, or cut off) is said and passed over.
///
/// `refuse` takes the master's first word off the channel before it answers: leaving it there would reset the channel
/// at exit, and the answer could be lost (unix(7) sockets report the reset first).
///
/// With `-c` the first entry of `sys.path` is the empty string: the working directory would shadow the standard library
/// (a `socket.py` beside the app). It is removed before anything is imported.
///
/// The extension is loaded as `importlib.machinery.ExtensionFileLoader` does it, but without `importlib`: what it imports in turn
/// costs a third of the interpreter's whole start, and a fleet pays it per vassal.
pub const BOOTSTRAP: &str = r#"import sys
if sys.path and sys.path[0] == '': del sys.path[0]
def bootstrap(path, channel, resume):
    def refuse(sentence):
        import json, os, socket
        line = socket.fromfd(channel, socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line.recv(1)
        line.sendall(json.dumps({'say': 'load_failed', 'sentence': sentence, 'traceback': None}).encode())
        os._exit(1)
    version = '.'.join(str(part) for part in sys.version_info[:3])
    name = getattr(getattr(sys, 'implementation', None), 'name', 'cpython')
    if name != 'cpython':
        refuse('%s is %s %s: CPython 3.9 or newer is needed' % (sys.executable, name, version))
    if sys.version_info < (3, 9):
        refuse('%s is CPython %s: 3.9 or newer is needed' % (sys.executable, version))
    if not getattr(sys, '_is_gil_enabled', lambda: True)() or 't' in getattr(sys, 'abiflags', ''):
        refuse('%s is a free-threaded build of CPython %s: a build with the global interpreter lock is needed' % (sys.executable, version))
    import _imp
    from os.path import isfile
    files = [name for name in [path] + [path + suffix for suffix in _imp.extension_suffixes()] if isfile(name)] or [path]
    for name in files:
        try:
            worker = _imp.create_dynamic(type(sys.__spec__)('empery_worker', None, origin=name))
            _imp.exec_dynamic(worker)
            break
        except ImportError as error:
            sentence = '%s (CPython %s) cannot load the worker extension %s: %s' % (sys.executable, version, name, error)
            if name == files[-1]: refuse(sentence)
            sys.stderr.write('%s; the next one is tried\n' % sentence)
    return worker.zygote(channel, resume)
sys.exit(bootstrap(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else -1))
"#;
