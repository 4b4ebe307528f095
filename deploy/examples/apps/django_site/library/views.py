"""The only page."""

from django.http import HttpResponse
from django.utils.html import format_html, format_html_join

from library.models import Book


def shelf(request):
    books = format_html_join("", "<li>{}</li>", ((book.title,) for book in Book.objects.order_by("title")))
    page = '<!doctype html><title>Library</title><h1>Library</h1><ul>{}</ul><p><a href="/admin/">Add a book</a></p>'
    return HttpResponse(format_html(page, books))
