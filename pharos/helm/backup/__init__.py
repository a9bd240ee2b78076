"""Backups that the recovery kit alone opens, the way back from one, and what a restored helm asks its nodes first."""
