"""Settings of the example site. Two come from the vassal file's `env`: where the database is, and the secret key."""

import os
from pathlib import Path

BASE = Path(__file__).resolve().parent.parent

DEBUG = False
ALLOWED_HOSTS = ["*"]
# An example's key is no secret; a real site gets its own from `env = LIBRARY_SECRET_KEY=...` in a file of mode 0600.
SECRET_KEY = os.environ.get("LIBRARY_SECRET_KEY", "not-secret-this-is-an-example")
ROOT_URLCONF = "site_of_books.urls"
WSGI_APPLICATION = "site_of_books.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "library",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("LIBRARY_DATABASE", BASE / "library.sqlite3"),
    }
}
