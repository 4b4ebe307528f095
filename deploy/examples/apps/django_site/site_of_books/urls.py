"""Addresses of the example site."""

from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.urls import path

from library.views import shelf

urlpatterns = [
    path("", shelf),
    path("admin/", admin.site.urls),
    # The example has no web server in front that would serve the admin's files; a real site lets nginx do it.
    path("static/<path:path>", serve, {"insecure": True}),
]
