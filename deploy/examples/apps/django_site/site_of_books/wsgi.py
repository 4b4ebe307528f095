"""What the vassal file names: `module = site_of_books.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_books.settings")
application = get_wsgi_application()
