#!/usr/bin/env python3
"""Django's command line for the example site: `./manage.py migrate`, `./manage.py createsuperuser`."""

import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_books.settings")
execute_from_command_line(sys.argv)
