-- What the file of a revision looked like besides its content (inode, size, mtime, owner, mode), so that a touch is seen
-- that was made while no emperor looked. NULL: from before this column; then the content alone is compared.
ALTER TABLE revisions ADD COLUMN facts TEXT;
